import torch
from torch import nn

from striate.layers.dense import DenseLayer, dense_block, transition


def test_a_dense_layer_keeps_what_it_was_given():
    layer = DenseLayer(5, growth=3).eval()
    x = torch.randn(2, 5, 4, 4)
    y = layer(x)
    assert torch.equal(y[:, :5], x)
    assert torch.equal(y[:, 5:], layer.body(x))


def test_every_layer_sees_all_before_it():
    """Layer i reads c + i * growth channels: L(L+1)/2 connections, counting the input as one map each."""
    block = dense_block(8, layers=4, growth=3)
    assert [layer.body.conv1.in_channels for layer in block] == [8, 11, 14, 17]
    assert [layer.body.conv1.out_channels for layer in block] == [12] * 4
    x = torch.randn(1, 8, 4, 4)
    assert block(x).shape == (1, 20, 4, 4)


def test_a_transition_averages_two_by_two():
    layer = transition(2, 1, norm=nn.Identity)
    nn.init.ones_(layer.conv.weight)
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    assert layer(x)[0, 0].tolist() == [[21, 25], [37, 41]]  # (0+1+4+5)/4 + (16+17+20+21)/4 = 2.5 + 18.5

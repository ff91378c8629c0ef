import torch
from torch import nn

from striate.layers.xception import xception_block


def test_block_whose_last_norm_is_zero_is_the_identity():
    net, x = xception_block(8, 8, 8, 8), torch.randn(2, 8, 7, 7)
    nn.init.zeros_(net[0].bn3.weight)
    torch.testing.assert_close(net(x), x)


def test_strided_block_keeps_every_second_pixel_on_its_skip():
    net, x = xception_block(4, 6, 6, stride=2).eval(), torch.randn(2, 4, 9, 10)
    branch, skip = net
    for p in branch.parameters():
        nn.init.zeros_(p)
    expected = torch.einsum("oi,nihw->nohw", skip.conv.weight[:, :, 0, 0], x[:, :, ::2, ::2])
    torch.testing.assert_close(net(x), expected / (1 + 1e-3) ** 0.5)


def test_without_a_first_relu_negative_inputs_count():
    x = -torch.rand(2, 3, 6, 6) - 0.1
    net = xception_block(3, 5, stride=2, relu_first=False)
    assert "relu1" not in dict(net[0].named_children())
    assert (net.eval()[0].separable1(x) != 0).any()
    assert (xception_block(3, 5, stride=2).eval()[0][:2](x) == 0).all()


def test_same_padding_of_the_pool_is_asymmetric_on_even_sides():
    """A window begins at pixel 0 with TensorFlow's rule and at pixel -1 with a padding of 1."""
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    pools = {rule: xception_block(1, 1, stride=2, pool_padding=rule)[0].pool for rule in ("same", 1)}
    assert pools["same"](x)[0, 0, 0].tolist() == [14, 16, 17]
    assert pools[1](x)[0, 0, 0].tolist() == [7, 9, 11]

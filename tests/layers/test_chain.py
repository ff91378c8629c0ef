import torch
from torch import nn

from striate.layers.chain import chain


def test_steps_run_in_order_under_their_names():
    steps = chain(twice=nn.Linear(1, 1, bias=False), relu=nn.ReLU())
    nn.init.constant_(steps.twice.weight, 2.0)
    assert steps(torch.tensor([[3.0], [-3.0]])).tolist() == [[6.0], [0.0]]
    assert [name for name, _ in steps.named_parameters()] == ["twice.weight"]

"""The twin gives the bits of the network, forward and backward, whatever its code does with its layers."""

import copy

import pytest
import torch
from torch import nn

from striate.layers import Conv2d, MaxPool2d
from striate.train.twin import twin


def chain():
    return nn.Sequential(
        Conv2d(1, 8, 3), nn.ReLU(), MaxPool2d(2),
        nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(3, 2, padding=1),
        nn.Flatten(), nn.Linear(8 * 7 * 7, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


def loss_and_gradients(net, x):
    net.zero_grad()
    nn.functional.cross_entropy(net(x), torch.arange(len(x)) % 10).backward()
    return net(x), [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("training", [True, False])
def test_the_twin_gives_the_same_bits_forward_and_backward(training):
    net = chain().train(training)
    # a blank background makes every window a tie, the case in which pooling first could go wrong
    x = torch.relu(torch.randn(6, 1, 30, 30) - 1)
    plain, plain_gradients = loss_and_gradients(copy.deepcopy(net), x)
    fast, fast_gradients = loss_and_gradients(twin(net), x)
    assert torch.equal(plain, fast)
    assert all(torch.equal(a, b) for a, b in zip(plain_gradients, fast_gradients, strict=True))


def test_the_twin_pools_before_it_clips_and_shares_every_tensor():
    net = chain()
    fast = twin(net)
    kinds = [type(m).__name__ for m in fast.forward.layers()]
    assert kinds[:3] == ["Conv2d", "MaxPool2d", "ReLU"]
    assert kinds[4:7] == ["BatchNorm2d", "MaxPool2d", "ReLU6"]
    clips = [m for m in fast.forward.layers() if isinstance(m, nn.ReLU | nn.ReLU6)]
    assert [m.inplace for m in clips] == [True, True, True]
    mine = [*net.parameters(), *net.buffers()]
    assert all(a is b for a, b in zip(mine, [*fast.parameters(), *fast.buffers()], strict=True))


def test_the_users_network_is_untouched():
    net = chain()
    before = repr(net)
    twin(net)
    assert repr(net) == before


def test_a_network_with_hooks_keeps_its_order():
    net = chain()
    net[1].register_forward_hook(lambda m, args, out: None)
    assert type(twin(net)).forward is nn.Sequential.forward
    assert "forward" not in vars(twin(net))


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.LeakyReLU(0.1), nn.GELU()])
def test_only_clipping_changes_places_with_pooling(activation):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), activation, nn.MaxPool2d(2))
    assert [type(m) for m in twin(net).forward.layers()] == [type(m) for m in net]


def test_clipping_is_not_done_in_place_where_its_input_is_needed_again():
    net = nn.Sequential(nn.Tanh(), nn.ReLU())  # the gradient of tanh needs its output
    assert not twin(net).forward.layers()[1].inplace


class Foreign(nn.Module):
    """As others write them: one clip in many places, layers of a chain called one by one."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.drop = nn.Dropout(0.5)
        self.body = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), self.act, nn.Conv2d(4, 4, 1)
        )
        self.taps = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.twice = nn.Sequential(nn.Linear(4, 4), self.act, self.drop, nn.Linear(4, 4), self.act, self.drop)

    def forward(self, x):
        x = x + self.body(self.act(x))
        seen = []
        for layer in self.taps:
            x = layer(x)
            seen.append(x)
        return self.twice(sum(tap.mean((2, 3)) for tap in seen))


@pytest.mark.parametrize("training", [False, True])
def test_code_that_calls_layers_itself_gets_what_it_wrote(training):
    net = Foreign().train(training)
    net.drop.eval()  # draws other numbers, rightly
    x = torch.randn(3, 4, 9, 9)
    plain, plain_gradients = loss_and_gradients(copy.deepcopy(net), x)
    fast, fast_gradients = loss_and_gradients(twin(net), x)
    assert torch.equal(plain, fast)
    assert all(torch.equal(a, b) for a, b in zip(plain_gradients, fast_gradients, strict=True))

"""The engine's dropout drops with the right chance, each number by itself, and scales what stays."""

import pytest
import torch
from torch import nn

from striate.train.dropout import LEVELS, Dropout
from striate.train.twin import twin


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.75])
def test_as_many_are_dropped_as_asked_and_the_others_keep_the_mean(p):
    torch.manual_seed(0)
    n, x = 1_000_003, torch.ones(1_000_003)
    y = Dropout(p)(x)
    dropped = round(p * LEVELS) / LEVELS
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / (1 - dropped)], rel=1e-6)
    five_sigma = 5 * (p * (1 - p) / n) ** 0.5
    assert float((y == 0).float().mean()) == pytest.approx(p, abs=five_sigma)


def test_four_numbers_from_one_random_word_are_independent():
    torch.manual_seed(0)
    p, words = 0.3, 250_000
    kept = (Dropout(p)(torch.ones(words, 4)) > 0).long() @ torch.tensor([1, 2, 4, 8])
    chance = torch.tensor([(1 - p) ** i.bit_count() * p ** (4 - i.bit_count()) for i in range(16)])
    found = kept.bincount(minlength=16)
    chi_square = float(((found - words * chance) ** 2 / (words * chance)).sum())
    assert chi_square < 37.7  # 15 degrees of freedom: exceeded by chance once in a thousand


def test_the_gradient_goes_where_the_number_went():
    x = torch.randn(32, 100, requires_grad=True)
    y = Dropout(0.5)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, torch.where(y == 0, 0.0, 2.0))
    assert torch.equal(y, x * gradient)


def test_a_seed_repeats_it():
    x = torch.randn(4, 8, 5, 5)
    torch.manual_seed(3)
    first = Dropout(0.4)(x)
    assert not torch.equal(first, Dropout(0.4)(x))
    torch.manual_seed(3)
    assert torch.equal(first, Dropout(0.4)(x))


def test_any_layout_is_taken_and_channels_last_stays():
    x = torch.randn(4, 8, 5, 5)
    assert Dropout(0.5)(x.contiguous(memory_format=torch.channels_last)).is_contiguous(
        memory_format=torch.channels_last
    )
    for view in (x.transpose(1, 3), x[:, ::3, 1:], x[:1].expand(6, 8, 5, 5)):
        y = Dropout(0.5)(view)
        assert torch.equal(y, torch.where(y == 0, 0.0, 2 * view))
        assert 0.2 < float((y == 0).float().mean()) < 0.8


def test_nothing_happens_outside_training_and_at_the_ends():
    x = torch.randn(3, 7)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(3, 7))


def test_the_engine_takes_it_and_leaves_the_users_network():
    net = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Dropout(0.2)), nn.Dropout2d(0.3)).eval()
    fast = twin(net)
    assert type(fast[1][0]) is Dropout
    assert (fast[1][0].p, fast[1][0].training) == (0.2, False)
    assert type(fast[2]) is nn.Dropout2d
    assert type(net[1][0]) is nn.Dropout

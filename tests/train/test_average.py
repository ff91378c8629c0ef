"""Averages against the same sums written out, and lookahead against its algorithm."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.data import load
from striate.train.average import Average, Lookahead
from striate.train.engine import Engine


def engine_of(net):
    return Engine(net, (0.5,), (0.25,), "cpu", "fp32")


def test_ema_forgets_its_start_at_first_and_then_decays():
    net = nn.Linear(1, 1, bias=False)
    average = Average(engine_of(net), "ema", decay=0.3)
    expected = 0.0
    for t, w in enumerate((5.0, 7.0, -1.0, 2.0)):
        nn.init.constant_(net.weight, w)
        average.update()
        left = min(0.3, (1 + t) / (10 + t)) if t else 0.0
        expected = left * expected + (1 - left) * w
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_swa_is_the_mean_and_counts_are_copied():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    average = Average(engine_of(net), "swa")
    for step, w in enumerate((1.0, 2.0, 6.0), 1):
        nn.init.constant_(net[0].weight, w)
        net[1].num_batches_tracked.fill_(step)
        average.update()
    assert average.module[0].weight.item() == pytest.approx(3.0)
    assert average.module[1].num_batches_tracked.item() == 3


def test_norms_of_an_average_get_the_statistics_of_its_own_activations():
    rng = np.random.default_rng(0)
    data = load((rng.integers(0, 256, (64, 6, 6), dtype=np.uint8), rng.integers(0, 2, 64)), split=(1.0, 0, 0))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    average = Average(engine_of(net), "swa")
    average.update()
    average.measure_norms(data.train, 16, workers=0)
    x = average.engine.prepare(data.train.read(range(64)))
    out = average.module[0](x).detach()
    torch.testing.assert_close(average.module[1].running_mean, out.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    # the mean of the variances of four batches, which is that of all but for the spread of their means
    torch.testing.assert_close(average.module[1].running_var, out.var((0, 2, 3)), rtol=0.05, atol=0)
    assert net[1].num_batches_tracked.item() == 0


def test_lookahead_goes_half_way_back_every_k_steps():
    w = nn.Parameter(torch.tensor([0.0]))
    lookahead, slow = Lookahead([w], 2), 0.0
    for step in range(1, 7):
        with torch.no_grad():
            w += 1.0
        lookahead.update(step)
        if step % 2 == 0:
            slow = slow + (slow + 2 - slow) / 2
            assert w.item() == pytest.approx(slow)
    assert w.item() == 3.0  # three rounds of two steps, each halved


def test_states_come_back():
    net = nn.Linear(2, 2)
    for make in (lambda: Average(engine_of(net), "ema", 0.9), lambda: Lookahead(net.parameters(), 2)):
        one = make()
        with torch.no_grad():
            net.weight += 1
        one.update(2) if isinstance(one, Lookahead) else one.update()
        other = make()
        other.load_state_dict(one.state_dict())
        a, b = one.state_dict(), other.state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a)

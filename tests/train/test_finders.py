"""What a finder tells, and that the loop afterwards is the loop before, to the bit."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from striate.data import load
from striate.errors import StriateError
from striate.train.engine import Engine
from striate.train.finders import HEADROOM, available, find_batch_size, find_lr, peak, settle, undisturbed
from striate.train.loop import Loop
from striate.train.recipe import Recipe


def loop_of(**settings):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 256)
    x = (rng.integers(0, 100, (256, 8, 8)) + 100 * y[:, None, None]).astype(np.uint8)
    data = load((x, y), split=(1.0, 0.0, 0.0))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    recipe = Recipe(data="arrays", model="net", epochs=2, batch_size=32, opt="sgd", lr=0.1, **settings)
    return Loop(recipe, data, Engine(net, data.preprocess.mean, data.preprocess.std, "cpu", "fp32"))


def same(before, after):
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert before[1] == after[1]


def test_the_suggested_rate_trains_and_the_loop_is_untouched():
    loop = loop_of(average="ema", lookahead=2)
    before = loop.state_dict()
    found = find_lr(loop)
    same(before, loop.state_dict())
    assert found.rates[0] == pytest.approx(1e-6)
    assert found.rates == sorted(found.rates)
    assert found.losses[-1] < 4 * min(found.losses) + 1e-9
    assert found.suggested == found.rates[found.losses.index(min(found.losses))] / 10
    better = loop_of(sched="constant")
    better.peaks = [found.suggested for _ in better.peaks]
    first = better.validate(better.data.train)["loss"]
    better.fit(lambda loop: None)
    assert better.validate(better.data.train)["loss"] < 0.5 * first


def test_all_is_put_back_when_something_breaks():
    loop = loop_of()
    before = loop.state_dict()

    def disturb():
        with undisturbed(loop):
            nn.init.zeros_(loop.engine.module[0].weight)
            torch.rand(3)
            loop.engine.module(torch.rand(2, 1, 8, 8)).sum().backward()
            loop.optimiser.step()
            loop.state.step = 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        disturb()
    same(before, loop.state_dict())


def test_batches_double_while_they_fit(monkeypatch):
    from striate.train import finders

    tried = []

    def cost(loop, size, before):
        tried.append(size)
        return {"bytes": 1000 + 100 * size, "images_per_second": {16: 9.0}.get(size, 1.0)}

    monkeypatch.setattr(finders, "_cost", cost)
    loop = loop_of()
    before = loop.state_dict()
    found = find_batch_size(loop, limit=5000)  # room for 85 %: 4250 bytes, so 32 fit and 64 would take 7400
    same(before, loop.state_dict())
    assert HEADROOM == 0.15
    assert tried == [2, 4, 8, 16, 32]  # 64 was never tried
    assert (found.largest, found.fastest) == (32, 16)
    assert find_batch_size(loop, limit=10**9).largest == 256  # no more than there are images
    with pytest.raises(StriateError, match="not even a batch of 2 fits"):
        find_batch_size(loop, limit=1000)


def test_memory_that_holds_files_for_later_is_free(tmp_path, monkeypatch):
    from striate.train import finders

    for name, text in (
        ("max", "1000000"),
        ("current", "900000"),
        ("stat", "anon 100000\ninactive_file 700000\n"),
    ):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(finders, "CGROUP", tmp_path)
    assert available(torch.device("cpu")) == 1_000_000 - (900_000 - 700_000)


def test_a_real_search_on_this_machine():
    found = find_batch_size(loop_of(), most=16)
    assert [t["batch_size"] for t in found.tried] == [2, 4, 8, 16]
    assert available(torch.device("cpu")) > 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="the peak counts anew on Linux alone")
def test_what_was_freed_before_does_not_hide_what_a_step_takes():
    cpu = torch.device("cpu")
    np.ones(40_000_000)  # 320 MB, given back at once
    before = settle(cpu)
    np.ones(10_000_000)  # 80 MB
    assert 75e6 < peak(cpu) - before < 100e6

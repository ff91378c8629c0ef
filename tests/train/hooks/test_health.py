"""Weights against counting, gradients against autograd of the run's own loss; looking changes nothing."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from striate.data import load
from striate.train.engine import Engine
from striate.train.events import State
from striate.train.hooks.health import BINS, Health, histograms
from striate.train.losses import loss_function


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 5),
        nn.ReLU(), nn.Linear(5, 2),
    )  # fmt: skip


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return load((rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), rng.integers(0, 2, 40)), split=(1.0, 0, 0))


def lines(folder):
    return [json.loads(line) for line in (folder / "health.jsonl").read_text().splitlines()]


def test_histograms_are_those_of_numpy():
    module = net()
    found = histograms(module)
    assert [row["layer"] for row in found] == ["0", "5", "7"]
    for row in found:
        weights = module[int(row["layer"])].weight.detach().numpy()
        counts, edges = np.histogram(weights, BINS)
        assert row["counts"] == counts.tolist()
        assert (row["low"], row["high"]) == (edges[0], edges[-1])
    nn.init.ones_(module[7].weight)
    assert histograms(module)[-1] == {"layer": "7", "low": 1.0, "high": 1.0, "counts": [10] + [0] * 31}


def test_gradients_are_those_of_the_loss_that_is_trained(tmp_path, data):
    module, loss = net(), loss_function("focal", 0.1, 2.0)
    module[4].p = 0.0
    engine = Engine(module, (0.5,), (0.25,), "cpu", "fp32")
    hook = Health(tmp_path, engine, data.train, loss)
    hook.on_epoch(State(1, 1, epoch=1))
    found = lines(tmp_path)[0]
    assert found["images"] == 16
    loss(module.train()(engine.prepare(hook.images)), hook.labels).backward()
    assert [row["layer"] for row in found["gradients"]] == ["0", "5", "7"]
    for row in found["gradients"]:
        gradient = module[int(row["layer"])].weight.grad
        assert row["rms"] == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-4)
    assert [(row["layer"], row["kind"]) for row in found["activities"]] == [("2", "relu"), ("6", "relu")]


def test_a_look_takes_no_larger_batches_than_a_step_and_more_than_one_image(tmp_path, data):
    sizes = []
    module = net()
    module.register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])))
    engine = Engine(module, (0.5,), (0.25,), "cpu", "fp32")
    loss = loss_function("cross-entropy")
    for batch_size in (64, 5, 2):
        Health(tmp_path, engine, data.train, loss, batch_size).on_epoch(State(1, 1, epoch=1))
    assert sizes == [16, 6, 5, 5, *[2] * 8]


def test_several_labels_and_weights_of_zero_can_be_looked_at(tmp_path, data):
    module = net()
    nn.init.zeros_(module[7].weight)
    hook = Health(tmp_path, Engine(module, (0.5,), (0.25,), "cpu", "fp32"), data.train,
                  loss_function("binary-cross-entropy", several=True))  # fmt: skip
    hook.labels = torch.eye(2)[hook.labels]
    hook.on_epoch(State(1, 1, epoch=1))
    look = json.loads(
        (tmp_path / "health.jsonl").read_text(), parse_constant=pytest.fail
    )  # Infinity is no JSON
    assert [row["relative"] for row in look["gradients"]][2] is None
    assert look["gradients"][2]["rms"] > 0 == look["gradients"][0]["rms"]


def test_looking_changes_nothing(tmp_path, data):
    module = net()
    engine = Engine(module, (0.5,), (0.25,), "cpu", "fp32")
    state, numbers = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    Health(tmp_path, engine, data.train, loss_function("cross-entropy")).on_epoch(State(1, 1, epoch=1))
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    assert torch.equal(numbers, torch.get_rng_state())
    assert module.training
    assert all(p.grad is None for p in module.parameters())


def test_a_line_an_epoch_and_none_twice(tmp_path, data):
    engine = Engine(net(), (0.5,), (0.25,), "cpu", "fp32")
    for first, last in ((1, 3), (2, 4)):  # the second session does epochs 2 and 3 again
        hook = Health(tmp_path, engine, data.train, loss_function("cross-entropy"))
        state = State(5, 1, epoch=first)
        hook.on_start(state)
        for state.epoch in range(first, last + 1):
            hook.on_epoch(state)
    assert [line["epoch"] for line in lines(tmp_path)] == [1, 2, 3, 4]

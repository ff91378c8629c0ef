"""Whoever calls striate finds the random state of torch, NumPy and Python as it was, and draws don't depend on it."""

import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import striate
from striate.anatomy import anatomy
from striate.anatomy.compare import latency
from striate.chance import Stream
from striate.data import load
from striate.explain.embedding import embed, plane
from striate.explain.health import health
from striate.explain.maximisation import maximise
from striate.train import recipe, resume, train
from striate.train.finders import find_lr
from striate.train.report import write_report
from striate.train.session import rehearse

NET = "INPUT(8,8,1) => CONV(4,3) => BN => RELU => DO(0.3) => POOL(2) => FC(16) => RELU => DO(0.5) => FC"
SMALL = {"data": "digits", "model": NET, "epochs": 1, "batch_size": 256, "device": "cpu"}


def states():
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return [torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(recipe(SMALL), tmp_path_factory.mktemp("run") / "r", report=False)


@pytest.fixture(scope="module")
def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(144, 3))


X = torch.arange(4 * 64, dtype=torch.float32).view(4, 1, 8, 8).sin()
CALLS = {
    "train": lambda run, net, tmp: train(recipe(SMALL), tmp / "r"),
    "average": lambda run, net, tmp: train(recipe({**SMALL, "average": "swa"}), tmp / "r", report=False),
    "resume": lambda run, net, tmp: resume(run.folder, epochs=2, report=False),
    "report": lambda run, net, tmp: write_report(run),
    "find_lr": lambda run, net, tmp: find_lr(rehearse(recipe(SMALL)), steps=4),
    "evaluate": lambda run, net, tmp: run.evaluate(split="val"),
    "evaluate arrays": lambda run, net, tmp: run.evaluate((np.ones((4, 9, 9), np.uint8), [1, 2, 3, 1])),
    "predictor": lambda run, net, tmp: striate.load(run.folder, engine="torch")(np.ones((8, 8), np.uint8)),
    "estimator": lambda run, net, tmp: (
        striate.ConvNetClassifier(NET, epochs=1)
        .fit(load_digits().images[:80], load_digits().target[:80])
        .predict(load_digits().images[:9])
    ),
    "embed": lambda run, net, tmp: plane(embed(net, [X]), "tsne"),
    "health": lambda run, net, tmp: health(net, [(X, torch.tensor([0, 1, 2, 0]))]),
    "maximise": lambda run, net, tmp: maximise(net, (1, 8, 8), [0], steps=2),
    "anatomy": lambda run, net, tmp: anatomy(net, (1, 8, 8)),
    "latency": lambda run, net, tmp: latency(net, (1, 8, 8), seconds=0.01),
    "load": lambda run, net, tmp: load("digits", seed=3),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_callers_random_numbers_are_untouched(run, net, tmp_path, call):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = states()
    call(run, net, tmp_path)
    assert states() == before


def test_a_run_does_not_depend_on_the_callers_random_numbers(run, tmp_path):
    torch.manual_seed(99)
    again = train(recipe(SMALL), tmp_path / "r", report=False)
    a, b = (r.history[0]["val_loss"] for r in (run, again))
    assert a == b


def test_a_stream_is_what_manual_seed_begins_and_goes_on_where_it_was():
    torch.manual_seed(3)
    expected = torch.rand(6)
    stream, drawn = Stream(3), []
    for _ in range(2):
        with stream.drawing():
            drawn.append(torch.rand(3))
        torch.rand(1)
    assert torch.equal(torch.cat(drawn), expected)


def test_streams_within_each_other_keep_apart():
    outer, inner = Stream(1), Stream(2)
    with outer.drawing():
        a = torch.rand(1)
        with inner.drawing():
            torch.rand(5)
        b = torch.rand(1)
    with Stream(1).drawing():
        assert [a, b] == [torch.rand(1), torch.rand(1)]


def test_a_stream_given_back_by_an_error_leaves_the_caller_where_it_was():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), Stream(1).drawing():
        torch.rand(-1)
    assert torch.equal(before, torch.get_rng_state())

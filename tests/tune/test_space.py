"""Texts and YAML against what they mean, by hand."""

import pytest

from striate.errors import UsageError
from striate.tune import Choice, Range, axes


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("lr=1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("weight_decay=0..0.1", Range(0, 0.1)),
        ("batch-size=32..128:32", Range(32, 128, step=32)),
        ("opt=adamw,muon", Choice(("adamw", "muon"))),
        ("epochs=3,5", Choice((3, 5))),
        ("whiten=true,false", Choice((True, False))),
        ("lr=1e-3,2e-3", Choice((1e-3, 2e-3))),
    ],
)
def test_texts_say_what_they_seem_to(text: str, axis: object) -> None:
    name = text.split("=")[0].replace("-", "_")
    assert axes([text]) == {name: axis}
    assert axes(mapping={name: text.split("=")[1]}) == {name: axis}
    assert axes([f"{name}={axis}"]) == {name: axis}  # it prints as what it was read from


def test_a_flag_replaces_what_the_file_says() -> None:
    assert axes(["lr=1..2"], {"lr": [0.1], "opt": ["sgd"]}) == {"lr": Range(1, 2), "opt": Choice(("sgd",))}


def test_a_grid_takes_every_step() -> None:
    assert Range(32, 128, step=32).grid("b") == (32, 64, 96, 128)
    assert Range(0.0, 0.3, step=0.1).grid("s") == pytest.approx((0, 0.1, 0.2, 0.3))
    assert Range(0.5, 2.5, step=1).grid("s") == (0.5, 1.5, 2.5)
    with pytest.raises(UsageError, match=r"lr=1..2"):
        Range(1, 2).grid("lr")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lrr=1..2", "lrr"),
        ("seed=1,2", "seed is the same for all trials"),
        ("monitor=loss,accuracy", "monitor is the same"),
        ("lr", "FIELD=VALUES"),
        ("lr=2..1", "lower"),
        ("lr=0..1:log", "positive"),
        ("batch_size=1..9:0", "lower"),
    ],
)
def test_what_cannot_be_searched_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        axes([text])
    with pytest.raises(UsageError, match="nothing to search"):
        axes()

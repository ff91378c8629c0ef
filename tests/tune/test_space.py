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
        ("lr=.5...9", Range(0.5, 0.9)),
        ("lr=1...2.", Range(1.0, 2.0)),
        ("cache=off,ram", Choice(("off", "ram"))),
        ("sched=step,30:0.1", Choice(("step", "30:0.1"))),
        ("epochs=010,020", Choice((10, 20))),
    ],
)
def test_texts_say_what_they_seem_to(text: str, axis: object) -> None:
    name = text.split("=")[0].replace("-", "_")
    assert axes([text]) == {name: axis}
    assert axes(mapping={name: text.split("=")[1]}) == {name: axis}
    assert axes([f"{name}={axis}"]) == {name: axis}  # it prints as what it was read from


def test_brackets_hold_a_list_as_in_yaml_and_keep_commas_together() -> None:
    assert axes(["lr=[1e-3, 1e-2]"]) == {"lr": Choice((1e-3, 1e-2))}
    chosen = "none", "random_crop(4, reflect)"
    assert axes([f"augment={','.join(chosen)}"]) == {"augment": Choice(chosen)}
    assert axes(["lr=1..10:LOG"]) == {"lr": Range(1, 10, log=True)}


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
        ("lr=1..1e999", "lower"),
        ("lr=0.1,0.1", "lr: 0.1 is listed twice"),
        ("momentum=0,0", "momentum: 0 is listed twice"),
        ("lr=0.1,,0.2", "lr: a value is missing in 0.1,,0.2"),
        ("learning_rate=1,2", "learning_rate is no field"),
    ],
)
def test_what_cannot_be_searched_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        axes([text])
    with pytest.raises(UsageError, match="nothing to search"):
        axes()
    with pytest.raises(UsageError, match="--search lr is given twice"):
        axes(["lr=1,2", "lr=2,3"])
    with pytest.raises(UsageError, match="search: expected `field: values` lines"):
        axes(mapping=["lr"])  # type: ignore[arg-type]

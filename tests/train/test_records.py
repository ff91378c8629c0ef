"""A file of a run folder that was cut, emptied or edited is named, with what to do; or it is written again."""

import json
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from striate.errors import DataError, StriateError, UsageError
from striate.train import Run, recipe, resume, train
from striate.train.report import write_report

NET = "INPUT(8,8,1) => CONV(2,3) => RELU => FC"
SCRAPS: list[Any] = [
    None,
    True,
    -1,
    0,
    3.5,
    "x",
    "",
    [],
    {},
    [1],
    {"a": 1},
    10**30,
    float("inf"),
    [[]],
    "\ud800",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"data": "digits", "model": NET, "epochs": 2, "batch_size": 256, "workers": 0}
    return train(recipe(settings), tmp_path_factory.mktemp("records") / "run").folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


SUMMARY = "report", "summary.json"
METRICS = "report", "metrics.csv"
SPLITS = "evaluate", "splits.json"
HEALTH = "report", "health.jsonl"


@pytest.mark.parametrize(
    ("verb", "name", "change", "says"),
    [
        (*SUMMARY, "", "no JSON: Expecting value: line 1 column 1"),
        (*SUMMARY, "[]", "expected a valid dictionary"),
        (*SUMMARY, lambda s: s.pop("params"), "params: missing"),
        (*SUMMARY, lambda s: s.update(train_seconds="long"), "train_seconds: expected a valid number, got 'long'"),
        (*METRICS, "", "column epoch is missing"),
        (*METRICS, "epoch,train_loss,train_accuracy,images_per_second\n1,0.5,0.5\n", "line 2: expected 4 numbers"),
        (*METRICS, "epoch,train_loss,train_accuracy,images_per_second\n2,1,1,1\n", "line 2: expected the figures of"),
        (*METRICS, "epoch,train_loss,train_accuracy,images_per_second\n1,x,1,1\n", "line 2: expected 4 numbers"),
        (*SPLITS, "{", "no JSON"),
        (*SPLITS, lambda s: s["test"]["digests"].pop(), "test: 268 digests for 269 images"),
        (*SPLITS, lambda s: s["train"]["ids"].pop(), "train: 1258 digests for 1257 images"),
        (*SPLITS, lambda s: s["val"]["digests"].__setitem__(3, "0"), "val.digests.3: String should match pattern"),
        (*SPLITS, lambda s: s.pop("classes"), "classes: missing"),
        ("report", "environment.json", "", "no JSON"),
        ("report", "command.txt", b"\xff", "can't be read: it is no text in UTF-8"),
        (*HEALTH, "{}\n", "line 1: epoch: missing"),
        (*HEALTH, "not JSON\n", "line 1: no JSON"),
    ],
)  # fmt: skip
def test_a_record_that_was_edited_is_named(
    folder: Path, verb: str, name: str, change: Any, says: str
) -> None:
    if callable(change):
        edit(folder / name, change)
    else:
        (folder / name).write_bytes(change if isinstance(change, bytes) else change.encode())
    run = Run.open(folder)
    with pytest.raises(DataError) as caught:
        write_report(run) if verb == "report" else run.evaluate()
    assert f"{folder / name}" in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["summary.json", "metrics.csv", "environment.json"])
@pytest.mark.parametrize("content", [None, "", "{}"])
def test_resume_writes_again_what_it_can(
    finished: Path, folder: Path, name: str, content: str | None
) -> None:
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    if name == "environment.json":
        with pytest.raises(DataError, match=r"environment\.json") as caught:
            resume(folder)
        assert "--allow-changes` writes it again" in caught.value.hint
    resume(folder, report=False, allow_changes=name == "environment.json")
    again, before = Run.open(folder), Run.open(finished)
    assert again.finished
    assert again.history == before.history
    assert again.environment == before.environment
    assert again.summary["test_accuracy"] == before.summary["test_accuracy"]


def test_a_line_of_metrics_that_is_gone_is_told(folder: Path) -> None:
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:-1]))
    with pytest.raises(UsageError, match=r"metrics\.csv has 1 epochs, summary\.json 2"):
        write_report(Run.open(folder))


@pytest.mark.parametrize("content", [b"", b"\0" * 20, b'{"a"'])
def test_a_state_that_is_none_though_its_name_fits(folder: Path, content: bytes) -> None:
    newest = max((folder / "last").iterdir())
    newest.unlink()
    (folder / "last" / f"{newest.name[:6]}-{crc32(content):08x}.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=rf"{newest.name[:6]}-.* is damaged") as caught:
        resume(folder, epochs=3)
    assert caught.value.hint.startswith("remove it to go on from 00000")


def _damaged(path: Path, draw: random.Random) -> None:
    """Take the file away, cut it, change bytes of it, or change one value in it."""
    content = path.read_bytes()
    how = draw.choice(["gone", "cut", "bytes", "noise", "value", "value", "value"])
    if how == "value" and path.suffix in (".json", ".jsonl", ".csv", ".yaml", ".safetensors"):
        _change_a_value(path, draw)
    elif how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: draw.randrange(len(content))])
    elif how == "noise":
        path.write_bytes(draw.randbytes(draw.randrange(100)))
    else:
        spoilt = bytearray(content)
        spoilt[draw.randrange(len(spoilt))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(spoilt))


def _change_a_value(path: Path, draw: random.Random) -> None:
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as f:
            notes = f.metadata()
        key = "model" if "model" in notes else "facts"
        data = save(load_file(path), notes | {key: _changed(notes[key], draw)})
        path.unlink()
        named = path.parent.name == "last"
        path.with_name(f"{path.name[:6]}-{crc32(data):08x}.safetensors" if named else path.name).write_bytes(
            data
        )
        return
    lines = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
    i = draw.randrange(len(lines))
    if path.suffix.startswith(".json"):
        lines[i] = _changed(lines[i], draw)
    else:
        cells = lines[i].split("," if path.suffix == ".csv" else ": ")
        cells[draw.randrange(len(cells))] = draw.choice(
            ["", "x", "-1", "1e999", "nan", "[", "!!int x", "9" * 5000, "\0"]
        )
        lines[i] = ("," if path.suffix == ".csv" else ": ").join(cells)
    path.write_text("\n".join(lines) + "\n")


def _changed(text: str, draw: random.Random) -> str:
    """JSON with one value, anywhere in it, removed or replaced."""
    content = [json.loads(text)]
    place: Any = content
    while True:
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.3:
            break
        place = place[key]
    if draw.random() < 0.3 and place is not content:
        del place[key]
    else:
        place[key] = draw.choice(SCRAPS)
    return json.dumps(content[0])


@pytest.mark.parametrize("times", [5, pytest.param(400, marks=pytest.mark.slow)])
def test_whatever_is_damaged_nobody_sees_a_trace(finished: Path, tmp_path: Path, times: int) -> None:
    draw, image = random.Random(times), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    names = [p.relative_to(finished) for p in finished.rglob("*") if p.is_file() and p.name != "report.html"]
    for number in range(times):
        folder = Path(shutil.copytree(finished, tmp_path / str(number)))
        name = draw.choice(sorted(names))
        _damaged(folder / name, draw)
        for act in (
            lambda run: write_report(run),
            lambda run: run.evaluate(),
            lambda run: run.model().probabilities(image),
            lambda run: resume(run.folder, epochs=3, report=False),
        ):
            with suppress(StriateError):
                act(Run.open(folder))
        shutil.rmtree(folder)

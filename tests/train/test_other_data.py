"""Data that a run didn't have: prepared as the run prepares, classes by name, its own images known again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.cli import main
from striate.data import ArrayImages, DataSet, load
from striate.errors import DataError, UsageError
from striate.train import Run, recipe, train

NET = "INPUT(12,12,3) => CONV(6,3) => BN => RELU => POOL(2) => FC"
COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


def paint(folder: Path, classes=COLOURS, n=20, seed=0, size=(12, 12)) -> Path:
    """A folder of noisy pictures, each in the colour of its class."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = rng.normal(COLOURS.get(name, (99, 99, 99)), 40, (*size, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{seed}-{i}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    home = tmp_path_factory.mktemp("home")
    settings = {"data": str(paint(home / "toy")), "model": NET, "epochs": 6, "lr": 0.02, "health": False}
    return train(recipe(settings), home / "run", report=False)


@pytest.fixture
def toy(run, tmp_path) -> Path:
    """A copy of what the run was trained on."""
    return Path(shutil.copytree(run.recipe.data, tmp_path / "toy"))


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("how", ["copied", "zipped", "renamed", "grown"])
def test_the_runs_own_data_keeps_its_splits(run, toy, split, how):
    if how == "zipped":
        toy = Path(shutil.make_archive(str(toy), "zip", toy))
    if how == "renamed":
        for file in list(toy.glob("*/*")):
            file.rename(file.with_name(f"x{file.name}"))
    if how == "grown":
        paint(toy, n=4, seed=5)
    own, again = run.evaluate(split=split), run.evaluate(toy, split)
    assert (len(again), again.accuracy) == (len(own), own.accuracy)
    assert again.loss == pytest.approx(own.loss)
    others = {
        s: len(json.loads((run.folder / "splits.json").read_text())[s]["ids"])
        for s in ("train", "val", "test")
    }
    assert "the run knows this data" in again.notes[0]
    told = {"train": "trained it", "val": "chose its best epoch", "test": "tested it"}
    assert all(f"{others[s]} that {word}" in again.notes[0] for s, word in told.items() if s != split)
    assert ("12 that it doesn't know" in again.notes[0]) == (how == "grown")


def test_the_test_split_is_meant_where_none_is_named(run, toy):
    assert len(run.evaluate(toy)) == len(run.evaluate())


def test_training_images_among_new_ones_are_told(run, toy, tmp_path, capsys):
    mixed = paint(tmp_path / "mixed", n=5, seed=7)
    seen = [i for i in run.splits["train"]["ids"] if i.startswith("red")][:6]
    for name in seen:
        shutil.copy(toy / name, mixed / "red" / f"copy-{Path(name).name}")
    with pytest.warns(UserWarning, match="of 21 images, 6 trained the run: that says little"):
        found = run.evaluate(mixed)
    assert len(found) == 21
    assert main(["evaluate", str(run.folder), str(mixed), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "note: of 21 images, 6 trained the run" in err
    assert json.loads(out.splitlines()[-1])["notes"] == list(found.notes)
    for file in [*mixed.glob("*/7-*")]:
        file.unlink()
    with pytest.warns(UserWarning, match="of 6 images, 6 trained the run"):
        assert len(run.evaluate(mixed)) == 6


def test_a_leak_into_a_test_folder_is_told(run, toy, tmp_path):
    other = paint(tmp_path / "other" / "test", n=5, seed=7).parent
    first = next(i for i in run.splits["val"]["ids"] if i.startswith("red"))
    shutil.copy(toy / first, other / "test/red")
    with pytest.warns(UserWarning, match="of 16 images, 1 chose its best epoch"):
        assert len(run.evaluate(other)) == 16


@pytest.mark.parametrize("size", [(12, 12), (40, 30)])
def test_images_are_cut_as_the_run_cuts_them(run, tmp_path, size):
    """The labels given by `predict`, which prepares file by file, are those of `evaluate`."""
    other = paint(tmp_path / "other", n=6, seed=3, size=size)
    found = run.evaluate(other)
    files = [other / name for name in found.ids]
    said = [row["label"] for row in run.model().predict(files)]
    assert said == [found.classes[i] for i in found.predictions]
    assert found.accuracy > 0.8
    loaded = run.evaluate(load(other))  # which is of 40 x 30, and divided 70/15/15
    np.testing.assert_array_equal(loaded.probabilities, found.probabilities)
    part = run.evaluate(load(other), "test")
    assert len(part) == len(load(other).test) < len(found)
    at = [found.ids.index(name) for name in part.ids]
    np.testing.assert_allclose(part.probabilities, found.probabilities[at], atol=1e-6)


def test_grey_arrays_become_what_a_network_of_colours_takes(run):
    x = np.full((6, 20, 20), 128, np.uint8)
    y = np.array(["red", "green", "blue"] * 2)
    found = run.evaluate((x, y))
    np.testing.assert_array_equal(found.probabilities, run.evaluate((np.stack([x] * 3, -1), y)).probabilities)


def test_classes_are_matched_by_name(run, tmp_path):
    """In an .npz they are numbers in any order; here names, of which one is lacking."""
    some = paint(tmp_path / "some", ["red", "blue"], n=6, seed=4)
    found = run.evaluate(some)
    assert found.classes == ("blue", "green", "red")
    assert [c.support for c in found.per_class] == [6, 0, 6]
    assert found.accuracy > 0.8
    assert found.notes == ("there is no image of 'green'",)
    rows = "".join(f"some/{p.parent.name}/{p.name},{p.parent.name}\n" for p in some.glob("*/*"))
    (tmp_path / "table.csv").write_text("path,label\n" + "".join(sorted(rows.splitlines(True), reverse=True)))
    assert run.evaluate(tmp_path / "table.csv").accuracy == found.accuracy


def test_a_class_that_the_run_does_not_know_is_named(run, tmp_path):
    strange = paint(tmp_path / "strange", ["red", "blue", "greem"], n=2)
    with pytest.raises(
        DataError, match="doesn't know the class 'greem'; it knows 'blue', 'green', 'red'"
    ) as caught:
        run.evaluate(strange)
    assert caught.value.hint == "did you mean green or red?"
    x, many = np.zeros((300, 8, 8), np.uint8), np.array([f"{i}" * 90 for i in range(300)])
    with pytest.raises(DataError) as caught:
        run.evaluate((x, many))
    assert "and 295 more" in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(("folders", "n"), [(("train", "val"), 12), (("test",), 6), (("train", "test"), 6)])
def test_a_division_without_test_is_taken_whole(run, tmp_path, folders, n):
    for seed, name in enumerate(folders, 11):
        paint(tmp_path / "other" / name, n=2, seed=seed)
    found = run.evaluate(tmp_path / "other")
    assert len(found) == n
    assert found.notes == (
        ("there is no test split: all 12 images are taken",) if "test" not in folders else ()
    )
    arrays = {}
    for name in folders:
        data = load(tmp_path / "other" / name, split=(1.0, 0.0, 0.0)).train
        arrays[f"x_{name}"] = data.read(range(6)).permute(0, 2, 3, 1).numpy()
        arrays[f"y_{name}"] = np.array(["blue", "green", "red"])[data.labels]
    np.savez(tmp_path / "other.npz", **arrays)
    assert run.evaluate(tmp_path / "other.npz").accuracy == found.accuracy


def test_a_split_that_the_data_does_not_have_is_refused(run, tmp_path):
    other = paint(tmp_path / "other", n=2, seed=12)
    with pytest.raises(UsageError, match="other has no train split: it isn't divided"):
        run.evaluate(other, "train")
    paint(tmp_path / "divided" / "test", n=2, seed=12)
    with pytest.raises(UsageError, match="divided has no val split, only test"):
        run.evaluate(tmp_path / "divided", "val")
    with pytest.raises(UsageError, match="unknown split 'tests'") as caught:
        run.evaluate(split="tests")
    assert caught.value.hint == "did you mean test?"


def test_what_was_added_to_the_folder_since_is_none_of_the_run(run, tmp_path):
    home = Path(shutil.copytree(run.folder.parent, tmp_path / "home"))
    stored = (home / "run/splits.json").read_text().replace(str(run.folder.parent), str(home))
    (home / "run/splits.json").write_text(stored)
    paint(home / "toy", ["grey"], n=3)
    (home / "toy/none").mkdir()
    (home / "toy/red/cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    moved = Run.open(home / "run")
    assert moved.source == str(home / "toy")
    assert moved.evaluate().accuracy == run.evaluate().accuracy


def test_a_run_finds_its_data_from_any_folder(tmp_path, monkeypatch):
    paint(tmp_path / "toy", n=8)
    monkeypatch.chdir(tmp_path)
    run = train(recipe({"data": "toy", "model": NET, "epochs": 1}), "runs/toy", report=False)
    expected, tested = Run.open("runs/toy").evaluate().accuracy, len(run.splits["test"]["ids"])
    monkeypatch.chdir("runs")  # where `toy` is the run itself
    assert Run.open("toy").evaluate().accuracy == expected
    monkeypatch.chdir("/")
    assert Run.open(tmp_path / run.folder).evaluate().accuracy == expected
    (tmp_path / "toy").rename(tmp_path / "away")
    with pytest.raises(DataError, match=f"no data at '{tmp_path}/toy'"):
        Run.open(tmp_path / run.folder).evaluate()
    assert len(Run.open(tmp_path / run.folder).evaluate(tmp_path / "away")) == tested


def test_a_data_set_of_ones_own_has_its_classes_in_any_order(run, tmp_path):
    found = run.evaluate(paint(tmp_path / "other", n=5, seed=6))
    given = load(tmp_path / "other", split=(1.0, 0.0, 0.0), classes=["red", "green", "blue"])
    images = ArrayImages(given.train.read(range(15)), given.train.labels, given.train.ids)
    nothing = ArrayImages(images.pixels[:0], images.labels[:0], [])
    mine = DataSet("mine", given.classes, images, nothing, nothing, given.preprocess)
    assert mine.classes != found.classes
    again = run.evaluate(mine)
    assert (again.accuracy, again.classes) == (found.accuracy, found.classes)
    assert again.loss == pytest.approx(found.loss, rel=1e-5)
    small = DataSet("mine", given.classes, images, nothing, nothing, replace(given.preprocess, size=(9, 9)))
    with pytest.raises(
        UsageError, match=r"mine: its images are cut to \(3, 9, 9\), the run's to \(3, 12, 12\)"
    ):
        run.evaluate(small)


def test_what_can_not_be_judged_is_counted(run, tmp_path):
    other = paint(tmp_path / "other", ["red"], n=3, seed=6)
    shutil.copy(other / "red/6-0.png", other / "loose.png")
    (other / "empty").mkdir()
    found = run.evaluate(other)
    assert len(found) == 3
    assert found.notes == (
        "1 left out, in no class folder: 'loose.png'",
        "there is no image of 'blue', 'green'",
    )
    (other / "red/6-1.png").write_bytes((other / "red/6-1.png").read_bytes()[:90])
    with pytest.raises(DataError, match="1 of 3 images can't be read"):
        run.evaluate(other)


def test_the_file_of_class_names_and_the_splits_may_be_gone(tmp_path):
    paint(tmp_path / "toy", n=8)
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    settings = {"data": tmp_path / "toy", "model": NET, "epochs": 1, "classes": tmp_path / "names.txt"}
    run = train(recipe(settings), tmp_path / "r", report=False)
    (tmp_path / "names.txt").unlink()
    found = run.evaluate(tmp_path / "toy")
    assert (found.classes, len(found)) == (("red", "green", "blue"), len(run.splits["test"]["ids"]))
    (tmp_path / "r/splits.json").unlink()
    assert len(run.evaluate(tmp_path / "toy")) == 24


def test_predict_tells_what_the_run_was_trained_on(run, toy, tmp_path, capsys):
    """The answers are all there; a file is known by its content."""
    new = paint(tmp_path / "new", ["red"], n=2, seed=8) / "red"
    for name in run.splits["train"]["ids"][:3]:
        shutil.copy(toy / name, new / name.replace("/", "-"))
    assert main(["predict", str(run.folder), str(new), "--engine", "torch", "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out.splitlines()[-1])) == 5
    assert err == "note: of 5 images, 3 trained the run: that says little of new images\n"
    (new / "none.png").write_text("no image")
    assert run.seen([new / "none.png", new / "8-0.png", tmp_path / "absent.png"]) == ""


def test_a_single_label_is_one_of_several(tmp_path):
    paint(tmp_path / "toy", n=8)
    names = [f"{p.parent.name}/{p.name}" for p in sorted((tmp_path / "toy").glob("*/*"))]
    several = "".join(f"{n},{n.split('/')[0]}|{'warm' if n[0] == 'r' else 'cold'}\n" for n in names)
    (tmp_path / "toy/all.csv").write_text("path,label\n" + several)
    run = train(
        recipe({"data": str(tmp_path / "toy/all.csv"), "model": NET, "epochs": 1}),
        tmp_path / "r",
        report=False,
    )
    paint(tmp_path / "new", ["red"], n=4, seed=9)
    (tmp_path / "new/some.csv").write_text(
        "path,label\n" + "".join(f"red/9-{i}.png,warm\n" for i in range(4))
    )
    found = run.evaluate(tmp_path / "new/some.csv")
    assert {row.name: row.support for row in found.per_label} == {
        "blue": 0,
        "cold": 0,
        "green": 0,
        "red": 0,
        "warm": 4,
    }

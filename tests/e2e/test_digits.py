"""The main job from end to end, through the command line: train, evaluate, predict, report, resume."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from striate.cli import main


@pytest.fixture
def striate(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must succeed -> (JSON of its last line, stderr)."""

    def run(*argv: object) -> tuple[Any, str]:
        capsys.readouterr()
        assert main([*map(str, argv), "--json"]) == 0, capsys.readouterr().err
        out, err = capsys.readouterr()
        return json.loads(out.splitlines()[-1]), err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e2e") / "run"
    assert (
        main(["train", "digits", "--model", "lenet5", "--epochs", "2", "--output", str(folder), "--json"])
        == 0
    )
    return folder


def test_train_leaves_a_whole_run_folder(trained: Path) -> None:
    files = {
        "recipe.yaml",
        "splits.json",
        "metrics.csv",
        "model.safetensors",
        "environment.json",
        "report.html",
    }
    assert files | {"log.txt", "last", "command.txt"} <= {p.name for p in trained.iterdir()}
    with (trained / "metrics.csv").open() as f:
        assert [row["epoch"] for row in csv.DictReader(f)] == ["1", "2"]


def test_train_reports_one_line_an_epoch_and_the_promised_keys(striate, tmp_path: Path) -> None:
    summary, err = striate("train", "digits", "--model", "lenet5", "--epochs", 1, "--output", tmp_path / "r")
    keys = {"run", "epochs", "train_seconds", "images_per_second", "val_accuracy", "test_accuracy", "params"}
    assert keys <= summary.keys()
    assert summary["run"] == str(tmp_path / "r")
    (line,) = err.splitlines()
    assert line.startswith("epoch 1/1  loss ")
    assert " images/s" in line


def test_evaluate_agrees_with_training(striate, trained: Path) -> None:
    measured, _ = striate("evaluate", trained)
    summary = json.loads((trained / "summary.json").read_text())
    assert measured["n"] == 269
    assert measured["accuracy"] == pytest.approx(summary["test_accuracy"])
    assert measured["accuracy"] > 0.8
    assert [c["name"] for c in measured["per_class"]] == list("0123456789")
    assert sum(c["support"] for c in measured["per_class"]) == 269
    validation, _ = striate("evaluate", trained, "--split", "val")
    assert validation["accuracy"] == pytest.approx(summary["val_accuracy"])


def test_predict_reads_pictures(striate, trained: Path, tmp_path: Path) -> None:
    digits = load_digits()
    files = [tmp_path / f"{i}.png" for i in range(20)]
    for file, pixels in zip(files, digits.images, strict=False):
        Image.fromarray((pixels * 255 / 16).round().astype("uint8")).save(file)
    for model in (trained, trained / "model.safetensors"):
        rows, _ = striate("predict", model, *files, "--top", 3)
        assert [row["file"] for row in rows] == list(map(str, files))
        assert sum(row["label"] == str(t) for row, t in zip(rows, digits.target, strict=False)) >= 16
        for row in rows:
            assert len(row["top"]) == 3
            assert row["probability"] == max(row["top"].values()) == row["top"][row["label"]]


def test_report_is_written_again(striate, trained: Path) -> None:
    written, _ = striate("report", trained)
    assert written["report"] == str(trained / "report.html")
    assert written["bytes"] == (trained / "report.html").stat().st_size < 5 << 20


def test_a_run_goes_on(striate, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    net = "INPUT(8,8,1) => CONV(8) => RELU => POOL => FC"
    striate("train", "digits", "--model", net, "--epochs", 1, "--output", folder)
    summary, err = striate("train", "--resume", folder, "--epochs", 3)
    assert summary["epochs"] == 3
    assert [line.split()[1] for line in err.splitlines()] == ["2/3", "3/3"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_stops_a_run_that_can_go_on(striate, tmp_path: Path, number: int, code: int) -> None:
    net, folder = "INPUT(8,8,1) => CONV(8) => RELU => POOL => FC", tmp_path / "r"
    argv = ["train", "digits", "--model", net, "--epochs", "100000", "--output", str(folder)]
    program = f"import sys; from striate.cli import main; sys.exit(main({argv!r}))"
    job = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert job.stdout is not None
    assert job.stdout.readline().startswith("epoch      1/100000")
    job.send_signal(number)
    err = job.communicate(timeout=60)[1]
    assert job.returncode == code
    assert err.splitlines()[0] == f"error: stopped by {number.name}"
    assert "--resume" in err
    done = len((folder / "metrics.csv").read_text().splitlines()) - 1
    summary, _ = striate("train", "--resume", folder, "--epochs", done + 1)
    assert summary["epochs"] == done + 1


def test_for_people(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "[red]zero\n.png"
    Image.fromarray((load_digits().images[0] * 15).astype("uint8")).save(file)
    assert main(["predict", str(trained), str(file)]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["file", "label", "probability", "then"]
    assert "[red]zero\\n.png" in row
    assert main(["evaluate", str(trained)]) == 0
    *tables, last = capsys.readouterr().out.splitlines()
    assert len(tables) == 11 + 1 + 12  # of the classes and of their confusion, with a line between them
    assert last.startswith("accuracy ")
    assert last.endswith(" 269 images")


@pytest.mark.slow
def test_lenet_reaches_the_promised_accuracy(striate, tmp_path: Path) -> None:
    """The settings of the demo, over three seeds."""
    words = ("train", "digits", "--model", "lenet5", "--opt", "muon", "-b", 32, "--epochs", 15)
    runs = [striate(*words, "--seed", seed, "--output", tmp_path / f"{seed}")[0] for seed in range(3)]
    assert mean(run["test_accuracy"] for run in runs) >= 0.985

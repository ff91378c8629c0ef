"""`striate export`, `striate predict` and `striate watch` of a network trained for seconds."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from striate.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    net = "INPUT(8,8,1) => CONV(8) => RELU => POOL => FC"
    assert main(["train", "digits", "--model", net, "--epochs", "2", "--output", str(folder), "--json"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _home(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_HOME", str(trained.parent / "home"))


def test_export_tells_and_the_file_predicts(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(trained), "--to", "onnx", "--images", "20", "--benchmark"]) == 0
    told = capsys.readouterr().out
    assert "on 20 pictures with ONNX Runtime" in told
    assert "top-1 equal for 100.00%" in told
    assert "ms, batch 16" in told
    file = tmp_path / "seven.png"
    Image.fromarray(np.rint(load_digits().images[7] * (255 / 16)).astype(np.uint8)).save(file)
    answers = []
    for what in (trained, trained / "model.onnx"):
        assert main(["predict", str(what), str(file), "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        answers.append(row)
    assert answers[0]["label"] == answers[1]["label"]
    assert answers[0]["probability"] == pytest.approx(answers[1]["probability"], abs=1e-2)
    assert main(["watch", str(trained / "model.onnx"), str(tmp_path), "--limit", "1"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["file"], row["label"]) == (str(file), answers[0]["label"])


def test_predict_reads_a_picture_from_standard_input(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = io.BytesIO()
    Image.fromarray(np.rint(load_digits().images[7] * (255 / 16)).astype(np.uint8)).save(out, "PNG")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.getvalue())))
    assert main(["predict", str(trained), "-", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["file"], row["label"]) == ("-", "7")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["predict", str(trained), "-"]) == 3
    assert capsys.readouterr().err.startswith("error: '-': the file is empty")


def test_a_table_s_own_columns_are_those_of_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run learnt `kind`; `label`, which would be found by its name, says something else."""
    digits = load_digits()
    rows = ["where,kind,label"]
    for i in range(120):
        Image.fromarray(np.rint(digits.images[i] * (255 / 16)).astype(np.uint8)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{'low' if digits.target[i] < 5 else 'high'},{i % 2}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    words = [
        "--model",
        "INPUT(8,8,1) => FC",
        "--columns",
        "path=where,label=kind",
        "--epochs",
        "10",
        "-b",
        "8",
    ]
    run = str(tmp_path / "run")
    assert main(["train", str(tmp_path / "t.csv"), *words, "--output", run, "--json"]) == 0
    tested = json.loads(capsys.readouterr().out)["test_accuracy"]
    assert main(["export", run, "--to", "onnx", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(tested, abs=0.06)
    assert tested >= 0.5


def test_a_run_without_a_test_split_is_compared_on_its_validation_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    words = ["--model", "INPUT(8,8,1) => FC", "--epochs", "1", "--split", "90/10", "--output", run]
    assert main(["train", "digits", *words]) == 0
    assert main(["export", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["n"] == 180


def test_flags_that_do_nothing_are_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(trained), "--to", "keras", "--int8"]) == 2
    assert "--to keras writes weights alone" in capsys.readouterr().err


def test_export_as_json(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "export",
        str(trained),
        "--to",
        "openvino",
        "-o",
        str(tmp_path / "m.xml"),
        "--images",
        "9",
        "--json",
    ]
    assert main(argv) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"path", "max_abs_diff", "top1_agreement", "n"} <= result.keys()
    assert (result["path"], result["n"]) == (str(tmp_path / "m.xml"), 9)
    assert result == json.loads((tmp_path / "m.xml.certificate.json").read_text())


def test_slips_of_export(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(trained), "--to", "openvin"]) == 2
    cause, hint = capsys.readouterr().err.splitlines()
    assert cause == "error: --to: unknown format 'openvin'"
    assert hint.startswith("hint: did you mean openvino")

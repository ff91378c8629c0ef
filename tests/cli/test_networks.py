"""The verbs about networks: anatomy, diagram, models, bench."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import striate.anatomy  # noqa: F401  (so that its files can be found in sys.modules)
from striate.cli import main

NOTES = (
    "INPUT(28,28,1) => CONV(32,3,padding=valid) => RELU => CONV(64,3,padding=valid) => RELU => POOL(2) "
    "=> FC(10)"
)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]):
    def run(*argv: object) -> Any:
        assert main([*map(str, argv), "--json"]) == 0, capsys.readouterr().err
        out, err = capsys.readouterr()
        assert err == ""
        assert out.count("\n") == 1
        return json.loads(out)

    return run


def test_anatomy_gives_the_promised_keys(ask) -> None:
    found = ask("anatomy", NOTES)
    assert found["params"] == found["trainable"] == 320 + 18_496 + (12 * 12 * 64 + 1) * 10
    assert found["macs"] == 26**2 * 9 * 32 + 24**2 * 9 * 32 * 64 + 12 * 12 * 64 * 10
    assert found["receptive_field"] == 6
    assert found["activation_bytes"] > 0
    conv = found["rows"][2]
    keys = {"name", "type", "output", "params", "macs", "receptive_field", "jump"}
    assert keys <= conv.keys()
    assert (conv["output"], conv["params"], conv["formula"]) == ([64, 24, 24], 18_496, "(3*3*32 + 1)*64")
    assert {"rule", "level", "text"} == found["advice"][0].keys()
    assert "memory" not in found


def test_what_foreign_code_had_changed_is_noted_once_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "squashed_network.py").write_text(
        "from torch import nn\n\ndef net(num_classes=3):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes), nn.Softmax(1)).double()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert (
        main(["anatomy", "--compare", "squashed_network:net", "squashed_network:net", "--input", "8,8,1"])
        == 0
    )
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "note: squashed_network:net has weights in float64, which become float32",
        "note: squashed_network:net ends in a softmax (2), which is left out: networks give logits",
    ]
    assert main(["anatomy", "INPUT(8,8,1) => FC(10) => SIGMOID"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "of 10 classes none can get a probability over 0.232" in " ".join(out.split())


def test_anatomy_of_another_size_and_of_a_training_step(ask) -> None:
    small = ask("anatomy", "resnet18", "--input", "64,64,3", "--num-classes", 5)
    assert small["rows"][-1]["output"] == [5]
    step = ask("anatomy", NOTES, "--batch", 8, "--opt", "momentum", "--fit", 0.5)
    weights = 4 * step["params"]
    assert (step["memory"]["weights"], step["memory"]["optimiser_state"]) == (weights, weights)
    assert step["memory"]["batch"] == step["batch"] == 8
    assert step["savings"]["half the batch"] > 0
    assert step["largest_batch"] > 100


def test_networks_side_by_side(
    ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["striate.anatomy.compare"], "latency", lambda *_: 0.002)
    (tmp_path / "tiny.diagram").write_text("INPUT(8,8,1) => FC(10)")
    run, tiny = tmp_path / "run", tmp_path / "tiny.diagram"
    assert main(["train", "digits", "--model", str(tiny), "--epochs", "1", "--output", str(run)]) == 0
    capsys.readouterr()
    accuracy = json.loads((run / "summary.json").read_text())["test_accuracy"]
    found = ask("anatomy", "--compare", NOTES, NOTES, tiny, run)["networks"]
    assert [n["name"] for n in found] == ["net 1", "net 2", "tiny", "run"]
    assert [n["accuracy"] for n in found] == [None, None, None, accuracy]
    assert [n["latency_ms"] for n in found] == [2.0] * 4
    assert found[2]["params"] == 650


def test_several_networks_need_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["anatomy", "lenet5", "vgg11"]) == 2
    assert "--compare" in capsys.readouterr().err


def test_a_diagram_to_text_source_and_drawing(
    ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ask("diagram", NOTES)["text"]
    assert ask("anatomy", text)["params"] == ask("anatomy", NOTES)["params"]
    scope: dict[str, Any] = {}
    exec(ask("diagram", NOTES, "--to", "python")["python"], scope)
    assert sum(p.numel() for p in scope["Net"]().parameters()) == ask("anatomy", NOTES)["params"]
    assert scope["Net"]()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    file = tmp_path / "net.svg"
    assert ask("diagram", "lenet5", "--to", "svg", "-o", file)["path"] == str(file)
    assert file.read_text().startswith("<svg ")
    assert main(["diagram", NOTES]) == 0
    assert capsys.readouterr().out == text.rstrip("\n") + "\n"


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.svg", "<svg "), ("a.py", '"""'), ("a.diagram", "INPUT("), ("a.TXT", "INPUT(")],
)
def test_the_end_of_a_name_says_what_is_written(ask, tmp_path: Path, name: str, begins: str) -> None:
    ask("diagram", NOTES, "-o", tmp_path / name)
    assert (tmp_path / name).read_text().startswith(begins)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["-o", "a.png"], "a.png: can't tell what to write"),
        (["-o", "a"], "a: can't tell what to write"),
        (["-o", "a.svg", "--to", "python"], "--to python and a file of svg, a.svg"),
        (["-o", "no/a.svg"], "can't write no/a.svg: there is no folder no"),
    ],
)
def test_a_name_that_says_something_else_is_refused(
    words: list[str], cause: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["diagram", NOTES, *words]) == 2
    assert cause in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_zoo_as_a_table(ask, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ask("models")
    assert len(rows) > 50
    (lenet,) = (row for row in rows if row["name"] == "lenet5")
    assert {"name", "family", "paper", "year", "input", "params", "macs", "receptive_field"} == lenet.keys()
    assert (lenet["year"], lenet["params"], lenet["input"]) == (1998, 61_706, [1, 32, 32])
    assert {row["name"] for row in ask("models", "vgg1?")} == {"vgg11", "vgg13", "vgg16", "vgg19"}
    assert main(["models", "lenet5"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["name", "family", "paper"]
    assert "61,706" in row


def test_bench_measures_training(ask, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", "train", "INPUT(8,8,1) => CONV(4) => RELU => FC(10)", "--seconds", "0.2", "-b", "16"]
    found = ask(*argv, "--precision", "fp32")
    assert found["images_per_second"] == pytest.approx(16 / found["step_seconds"])
    assert found["macs_per_second"] == pytest.approx(3 * (9 * 4 * 64 + 256 * 10) * found["images_per_second"])
    assert found["share"] == pytest.approx(found["macs_per_second"] / found["limit"])
    assert main(argv) == 0
    assert " images/s, " in capsys.readouterr().out

"""What `striate evaluate` prints is what the evaluation says, in a table and as JSON."""

import json

import numpy as np
import pytest

from striate.cli import main
from striate.cli.common import console
from striate.cli.evaluate import confusion
from striate.train import Evaluation, Run

NET = "INPUT(8,8,1) => CONV(4,3) => RELU => POOL => FC"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    assert (
        main(["train", "digits", "--model", NET, "--epochs", "2", "--monitor", "top-2", "--output", str(run)])
        == 0
    )
    return run


def test_the_figures_are_printed_and_told_to_scripts(folder, capsys):
    found = Run.open(folder).evaluate()
    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:3] == ["is,", "taken", "for"])
    for name, line, counts in zip(found.classes, lines[head + 1 :], found.confusion, strict=False):
        assert line.split() == [name, *(str(n) if n else "·" for n in counts)]
    assert f"accuracy {found.accuracy:.2%}, top-5 {found.top(5):.2%}, balanced accuracy" in lines[-1]
    assert f"macro F1 {found.macro_f1:.2%}, loss" in lines[-1]
    assert main(["evaluate", str(folder), "--top", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["top_3"] == found.top(3)
    assert told["confusion"] == found.confusion.tolist()
    assert {"accuracy", "loss", "per_class", "n", "balanced_accuracy", "macro_f1", "notes"} <= told.keys()


def test_a_number_of_classes_that_says_nothing_is_refused(folder, capsys):
    assert main(["evaluate", str(folder), "--top", "10"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: --top 10: of 10 classes, the truth is always among them"
    )


def test_what_a_run_goes_by_is_told_at_its_end(folder, tmp_path, capsys):
    words = ["--epochs", "1", "--monitor", "macro-f1", "--output", str(tmp_path / "r")]
    assert main(["train", "digits", "--model", NET, *words]) == 0
    summary = Run.open(tmp_path / "r").summary
    out = capsys.readouterr().out
    assert f"val macro F1 {100 * summary['val_macro_f1']:.2f} %" in out
    assert f"test macro f1 {100 * summary['test_macro_f1']:.2f} %" in out


@pytest.mark.parametrize(("k", "names"), [(3, "a name too long for the head of a column"), (25, "c")])
def test_long_names_are_numbered_and_many_classes_listed(k, names, capsys):
    classes = tuple(f"{names} {i}" for i in range(k))
    labels = np.repeat(np.arange(k), 4)
    said = labels.copy()
    said[[1, 2, 5]] = 2, 2, 0
    found = Evaluation(classes, ("",) * len(labels), labels, np.eye(k, dtype=np.float32)[said])
    for part in confusion(found):
        console().print(part)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    if k == 3:
        assert lines[0][-3:] == ["1", "2", "3"]
        assert lines[1] == ["1", *classes[0].split(), "2", "·", "2"]
    else:
        assert [" ".join(line) for line in lines] == [
            "most frequent confusions", "c 0 taken for c 2: 2", "c 1 taken for c 0: 1"
        ]  # fmt: skip

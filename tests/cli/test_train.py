"""`striate train`: its flags are the fields of the recipe, and a flag typed is a field set."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

import striate.train
from striate.cli import application, main
from striate.train.recipe import Recipe

SUMMARY = {
    "run": "runs/1-lenet5-digits",
    "epochs": 1,
    "train_seconds": 1.25,
    "images_per_second": 1000.4,
    "val_accuracy": 0.5,
    "test_accuracy": None,
    "params": 1234,
}
ANOTHER: dict[str, Any] = {  # a value for each field that isn't its default, as typed and as read
    "data": ("mnist", "mnist"),
    "model": ("resnet50", "resnet50"),
    "weights": ("a.pth", "a.pth"),
    "pretrained": (True, True),
    "offline": (True, True),
    "freeze": ("features", "features"),
    "head": ("mlp", "mlp"),
    "head_epochs": ("5", 5),
    "unfreeze": ("2", 2),
    "gradual": (True, True),
    "layer_decay": ("0.7", 0.7),
    "freeze_norms": (False, False),
    "l2_sp": ("0.1", 0.1),
    "compare_scratch": (True, True),
    "epochs": ("3", 3),
    "batch_size": ("8", 8),
    "lr": ("1e-3", 0.001),
    "opt": ("muon", "muon"),
    "momentum": ("0.5", 0.5),
    "sched": ("step", "step"),
    "warmup": ("0.1", 0.1),
    "plateau": ("3", 3),
    "plateau_factor": ("0.5", 0.5),
    "cooldown": ("2", 2),
    "min_lr": ("1e-5", 1e-5),
    "weight_decay": ("0", 0.0),
    "decay_all": (True, True),
    "bias_lr": ("2", 2.0),
    "clip": ("1", 1.0),
    "accumulate": ("4", 4),
    "lookahead": ("5", 5),
    "average": ("ema", "ema"),
    "ema_decay": ("0.99", 0.99),
    "focal_gamma": ("1", 1.0),
    "drop_path": ("0.2", 0.2),
    "init": ("partial_identity", "partial_identity"),
    "grow": ("0.5", 0.5),
    "whiten": (True, True),
    "patience": ("4", 4),
    "min_delta": ("0.001", 0.001),
    "patience_from": ("3", 3),
    "baseline": ("0.9", 0.9),
    "keep": ("2", 2),
    "monitor": ("loss", "loss"),
    "stop_after": ("2m", 120.0),
    "deterministic": (True, True),
    "save_every": ("100", 100),
    "health": (False, False),
    "track": ("wandb", "wandb"),
    "loss": ("binary-cross-entropy", "binary-cross-entropy"),
    "smoothing": ("0.1", 0.1),
    "balanced": (True, True),
    "class_weights": (True, True),
    "classes": ("names.txt", "names.txt"),
    "allow_empty": (True, True),
    "columns": ("path=file", "path=file"),
    "on_bad_image": ("skip", "skip"),
    "cache": ("ram", "ram"),
    "cache_limit": ("500MB", 500_000_000),
    "augment": ("none", "none"),
    "img_size": ("28,32", (28, 32)),
    "in_chans": ("3", 3),
    "num_classes": ("7", 7),
    "resize": ("pad", "pad"),
    "split": ("0.6,0.2,0.2", (0.6, 0.2, 0.2)),
    "aux_weight": ("0.4", 0.4),
    "seed": ("9", 9),
    "device": ("cuda:1", "cuda:1"),
    "precision": ("bf16", "bf16"),
    "workers": ("5", 5),
}


TRAINED = {"weights": "w.safetensors"}
BESIDE: dict[str, dict[str, Any]] = {  # what gives a field its say
    "freeze": TRAINED,
    "unfreeze": TRAINED,
    "head": {**TRAINED, "unfreeze": 1},
    "head_epochs": {**TRAINED, "unfreeze": 1},
    "gradual": {**TRAINED, "unfreeze": 2},
    "layer_decay": TRAINED,
    "freeze_norms": TRAINED,
    "l2_sp": TRAINED,
    "compare_scratch": TRAINED,
    "momentum": {"opt": "sgd"},
    "plateau": {"sched": "plateau"},
    "plateau_factor": {"sched": "plateau"},
    "cooldown": {"sched": "plateau"},
    "ema_decay": {"average": "ema"},
    "focal_gamma": {"loss": "focal"},
    "min_delta": {"patience": 3},
    "patience_from": {"patience": 3},
    "baseline": {"patience": 3},
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, Any]]:
    """What the verb asked of the library, in place of training."""
    calls: list[tuple[str, Any, Any]] = []

    def noted(name: str) -> Callable[..., Any]:
        def call(what: Any, *extra: Any, **changes: Any) -> SimpleNamespace:
            calls.append((name, what, changes if name == "resume" else extra[0]))
            return SimpleNamespace(summary=SUMMARY)

        return call

    monkeypatch.setattr(striate.train, "train", noted("train"))
    monkeypatch.setattr(striate.train, "resume", noted("resume"))
    return calls


def spell(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def test_flags_and_fields_are_the_same() -> None:
    command = typer.main.get_command(application(["train"])).commands["train"]
    flags = {opt for param in command.params for opt in param.opts if opt.startswith("--")}
    assert flags == {spell(f) for f in Recipe.model_fields if f != "data"} | {
        *(
            "--resume",
            "--allow-changes",
            "--find-lr",
            "--find-batch-size",
            "--show-loop",
            "--config",
            "--output",
            "--json",
            "--debug",
        )
    }
    short = {
        opt: param.name for param in command.params for opt in param.opts if opt[1] != "-" and opt[0] == "-"
    }
    assert short == {"-b": "batch_size", "-j": "workers", "-c": "config"}
    for param in command.params:
        if param.name in Recipe.model_fields:
            assert param.help.startswith(Recipe.model_fields[param.name].description)


@pytest.mark.parametrize("field", Recipe.model_fields)
def test_each_flag_sets_its_field(field: str, asked: list[tuple[str, Any, Any]]) -> None:
    typed, value = ANOTHER[field]
    beside = BESIDE.get(field, {})
    words = {"data": "digits", "--model": "lenet5", **{spell(k): str(v) for k, v in beside.items()}}
    words["data" if field == "data" else spell(field)] = typed
    if isinstance(typed, bool):
        words.pop(spell(field))
    switch = [spell(field).replace("--", "--" if typed else "--no-")] if isinstance(typed, bool) else []
    argv = ["train", words.pop("data"), *(w for pair in words.items() for w in pair), *switch]
    assert main(argv) == 0
    expected = {"data": "digits", "model": "lenet5", **beside, field: value}
    assert asked == [("train", Recipe(**expected), None)]


def test_flags_override_the_file_and_the_file_the_defaults(
    tmp_path: Path, asked: list[tuple[str, Any, Any]]
) -> None:
    (tmp_path / "r.yaml").write_text("data: digits\nmodel: lenet5\nepochs: 7\nlr: 0.5\n")
    argv = ["train", "-c", str(tmp_path / "r.yaml"), "--epochs", "2", "--output", "here"]
    assert main(argv) == 0
    assert asked == [("train", Recipe(data="digits", model="lenet5", epochs=2, lr=0.5), Path("here"))]


def test_resume(asked: list[tuple[str, Any, Any]], tmp_path: Path) -> None:
    assert main(["train", "--resume", "runs/1"]) == 0
    assert main(["train", "--resume", "runs/1", "--epochs", "30", "--allow-changes"]) == 0
    assert asked == [
        ("resume", Path("runs/1"), {"allow_changes": False}),
        ("resume", Path("runs/1"), {"allow_changes": True, "epochs": "30"}),
    ]
    assert main(["train", "--resume", "runs/1", "-c", str(tmp_path / "r.yaml")]) == 2


def test_one_thing_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--resume", "runs/1", "--find-lr"], ["digits", "--find-lr", "--find-batch-size"]):
        assert main(["train", *words]) == 2
        assert "one at a time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["--find-lr", "--lr", "0.1"], "--lr"),
        (["--find-batch-size", "-b", "8"], "--batch-size"),
        (["--show-loop", "--output", "here"], "--output"),
        (["--allow-changes"], "--allow-changes"),
    ],
)
def test_what_a_rehearsal_or_a_new_run_has_no_use_for_is_refused(
    words: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "digits", "--model", "lenet5", *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {flag} has no say")


def test_the_outcome_for_people_and_for_scripts(
    asked: list[tuple[str, Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "digits", "--model", "lenet5"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "validation accuracy 50.00 %; 1,234 parameters; 1.2 s, 1,000 images/s",
        "run folder: runs/1-lenet5-digits",
    ]
    assert main(["train", "digits", "--model", "lenet5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == SUMMARY

"""Small real searches on the digits: what was chosen, what was kept, what was recorded."""

import json
from pathlib import Path
from typing import Any

import pytest

from striate.cli import main
from striate.errors import StriateError, UsageError
from striate.train import Run
from striate.tune import Choice, Range, tune

LINEAR = "INPUT(8,8,1) => FC(10)"
SMALL = {"data": "digits", "model": LINEAR, "epochs": 1, "batch_size": 128, "health": False}
RATES = (1e-5, 1e-3, 1e-1)


def test_a_grid_tries_everything_and_keeps_the_best_on_validation(tmp_path: Path) -> None:
    seen: dict[float, float] = {}

    def told(study: Any, trial: Any) -> None:
        seen[trial.params["lr"]] = trial.value

    found = tune(SMALL, {"lr": Choice(RATES)}, tmp_path, sampler="grid", pruner="none", told=[told])
    assert set(seen) == set(RATES)
    best = max(seen, key=lambda lr: seen[lr])
    assert found["params"] == {"lr": best}
    assert found["val_accuracy"] == seen[best]
    assert (found["trials"], found["complete"], found["pruned"], found["failed"]) == (3, 3, 0, 0)
    run = Run.open(found["run"])
    assert run.recipe.lr == best
    assert run.summary["val_accuracy"] == seen[best]
    assert [p.name for p in (tmp_path / "trials").iterdir()] == [Path(found["run"]).name]
    page = (tmp_path / "report.html").read_text()
    assert "0.1" in page
    assert page.count('<svg class="chart"') == 2
    assert f"<title>best so far, trial 2: {100 * max(seen.values()):.4g} %</title>" in page
    again = tune(SMALL, {"lr": Choice(RATES)}, tmp_path, sampler="grid", pruner="none")
    assert again == found  # nothing is tried twice


def test_a_study_goes_on_where_it_stood(tmp_path: Path) -> None:
    axis = {"lr": Range(1e-4, 1e-1, log=True)}
    assert tune(SMALL, axis, tmp_path, trials=2, sampler="random")["trials"] == 2
    more = tune(SMALL, axis, tmp_path, trials=3, sampler="random")
    assert more["trials"] == 3
    assert 1e-4 <= more["params"]["lr"] <= 1e-1


def test_bad_trials_end_early(tmp_path: Path) -> None:
    settings = {**SMALL, "epochs": 4}
    rates = (0.1, 0.1, 0.1, 0.1, 1e-9)  # the median pruner first watches four
    axes = {"lr": Choice((0.1, 1e-9)), "weight_decay": Choice((0.0, 0.01, 0.02, 0.03))}
    found = tune(settings, axes, tmp_path, sampler="grid")
    assert found["pruned"] >= 1
    assert found["params"]["lr"] == rates[0]


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    model = Choice(("INPUT(8,8,1) => POOL(16) => FC(10)", LINEAR))
    found = tune(SMALL, {"model": model}, tmp_path, sampler="grid")
    assert (found["complete"], found["failed"]) == (1, 1)
    assert found["params"] == {"model": LINEAR}
    with pytest.raises(StriateError, match="no trial of 1"):
        tune(SMALL, {"model": Choice(model.values[:1])}, tmp_path / "bad", sampler="grid")


def test_values_that_make_no_recipe_are_refused_before_the_first_trial(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lr"):
        tune(SMALL, {"lr": Range(-1, 1)}, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_the_command_reads_the_space_from_the_recipe_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "search.yaml"
    config.write_text("epochs: 1\nbatch_size: 128\nsearch:\n  lr: [0.01, 0.1]\n")
    words = ["tune", "digits", "--model", LINEAR, "-c", str(config), "--output", str(tmp_path / "s")]
    assert main([*words, "--sampler", "grid", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["trials"] == 2
    assert found["params"]["lr"] in (0.01, 0.1)
    assert main([*words, "--lr", "0.1"]) == 2
    assert "--lr is given and searched" in capsys.readouterr().err

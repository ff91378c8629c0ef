"""Small real searches on the digits: what was chosen, what was kept, what was recorded."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.datasets import load_digits
from torch import nn

from striate.cli import main
from striate.errors import StriateError, UsageError
from striate.train import Run
from striate.train.events import Listener, State
from striate.train.signals import Interrupted
from striate.tune import Choice, Range, study, tune

LINEAR = "INPUT(8,8,1) => FC(10)"
SMALL = {"data": "digits", "model": LINEAR, "epochs": 1, "batch_size": 128, "health": False}
RATES = (1e-5, 1e-3, 1e-1)
GRID = {"lr": Choice(RATES)}
ANY_RATE = {"lr": Range(1e-4, 1e-1, log=True)}


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")


def rates(folder: Path, state: str = "COMPLETE") -> list[float]:
    return [trial.params["lr"] for trial in study_in(folder).trials if trial.state.name == state]


class SignalInTrial(Listener):
    """Ctrl-C while trial number `number` trains."""

    def __init__(self, number: int) -> None:
        self.left = number

    def on_start(self, state: State) -> None:
        self.left -= 1

    def on_step(self, state: State) -> None:
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_grid_tries_everything_and_keeps_the_best_on_validation(tmp_path: Path) -> None:
    seen: dict[float, float] = {}

    def told(study: Any, trial: Any) -> None:
        seen[trial.params["lr"]] = trial.value

    found = tune(SMALL, GRID, tmp_path, sampler="grid", pruner="none", told=[told])
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
    again = tune(SMALL, GRID, tmp_path, sampler="grid", pruner="none")
    assert again == found  # nothing is tried twice


def test_a_study_goes_on_where_it_stood(tmp_path: Path) -> None:
    assert tune(SMALL, ANY_RATE, tmp_path / "a", trials=2, sampler="random")["trials"] == 2
    more = tune(SMALL, ANY_RATE, tmp_path / "a", trials=4, sampler="random")
    drawn = rates(tmp_path / "a")
    assert more["trials"] == len(set(drawn)) == 4  # no point is drawn again
    assert all(1e-4 <= rate <= 1e-1 for rate in drawn)
    tune(SMALL, ANY_RATE, tmp_path / "b", trials=4, sampler="random")
    assert rates(tmp_path / "b") == drawn  # the seed decides, and a stop changes nothing


def test_processes_that_share_a_study_draw_different_points(tmp_path: Path) -> None:
    settings = {**SMALL, "epochs": 20}
    program = (
        f"from striate.tune import Range, tune; tune({settings}, {ANY_RATE}, {str(tmp_path)!r}, trials=4)"
    )
    job = subprocess.Popen([sys.executable, "-c", program])
    try:
        while not (tmp_path / "trials" / "0" / "metrics.csv").exists():
            assert job.poll() is None
            sleep(0.05)
        tune(settings, ANY_RATE, tmp_path, trials=4)
        assert job.wait(timeout=60) == 0
    finally:
        job.kill()
    drawn = [trial.params["lr"] for trial in study_in(tmp_path).trials]
    assert len(set(drawn)) == len(drawn) >= 4


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_search_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    long = {**SMALL, "epochs": 100}
    words = ["tune", "digits", "--model", LINEAR, "--search", "lr=1e-4..1e-1:log", "--epochs", "100"]
    words += ["--batch-size", "128", "--no-health"]
    program = f"from striate.cli import main; raise SystemExit(main({[*words, '--output', str(tmp_path)]}))"
    job = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / "trials" / "0" / "metrics.csv").exists():  # an epoch is over
            assert job.poll() is None
            sleep(0.05)
        job.send_signal(number)
        said = job.communicate(timeout=60)[1]
    finally:
        job.kill()
    assert job.returncode == code
    assert said.splitlines() == [
        f"error: stopped by {number.name}",
        "hint: the same command goes on with the search",
    ]
    interrupted = study_in(tmp_path).trials[0].params
    found = tune(long, ANY_RATE, tmp_path, trials=1)
    assert (found["params"], found["trials"], found["failed"]) == (interrupted, 1, 0)


def test_processes_that_begin_a_grid_at_once_try_each_combination_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = study._ask

    def ask_beside_another(shared: optuna.Study, grid: list[dict[str, Any]]) -> int:
        if not shared.trials:  # the other process found the study empty too
            for values in grid:
                shared.enqueue_trial(values)
            monkeypatch.setattr(shared, "get_trials", lambda **_: [])
        left = ask(shared, grid)
        monkeypatch.undo()
        monkeypatch.setattr(study, "_ask", ask)
        return left

    monkeypatch.setattr(study, "_ask", ask_beside_another)
    found = tune(SMALL, GRID, tmp_path, sampler="grid", pruner="none")
    assert len(study_in(tmp_path).trials) == 2 * len(RATES)
    assert (found["trials"], found["complete"], found["failed"]) == (3, 3, 0)
    assert sorted(rates(tmp_path)) == sorted(RATES)


def test_a_grid_goes_on_with_the_combination_that_was_interrupted(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="SIGINT"):
        tune(SMALL, GRID, tmp_path, sampler="grid", listeners=[SignalInTrial(1)])
    assert rates(tmp_path) == [RATES[0]]
    found = tune(SMALL, GRID, tmp_path, sampler="grid")
    assert (found["trials"], found["complete"], found["failed"]) == (3, 3, 0)
    assert sorted(rates(tmp_path)) == sorted(RATES)


def test_a_grid_goes_on_with_the_combination_that_was_killed(tmp_path: Path) -> None:
    tune(SMALL, GRID, tmp_path, sampler="grid", trials=1)
    killed = study_in(tmp_path).ask()
    assert killed.suggest_categorical("lr", RATES) == RATES[1]
    with sqlite3.connect(tmp_path / "study.db") as database:
        sign_of_life = (killed._trial_id, "2020-01-01 00:00:00.000000")
        database.execute("insert into trial_heartbeats (trial_id, heartbeat) values (?, ?)", sign_of_life)
    found = tune(SMALL, GRID, tmp_path, sampler="grid")
    assert (found["trials"], found["complete"], found["failed"]) == (3, 3, 0)
    assert sorted(rates(tmp_path)) == sorted(RATES)


def test_trials_are_judged_by_what_the_recipe_monitors(tmp_path: Path) -> None:
    # the higher rate is right more often, and far from the truth where it errs
    rash = {"lr": Choice((0.01, 10.0))}
    by_accuracy = tune(SMALL, rash, tmp_path / "accuracy", sampler="grid")
    by_loss = tune({**SMALL, "monitor": "loss"}, rash, tmp_path / "loss", sampler="grid")
    assert (by_accuracy["params"], by_accuracy["judged_by"]) == ({"lr": 10.0}, "validation accuracy")
    assert (by_loss["params"], by_loss["judged_by"]) == ({"lr": 0.01}, "validation loss")
    run = Run.open(by_loss["run"])
    assert by_loss["value"] == run.history[0]["val_loss"]
    assert by_loss["val_accuracy"] == run.summary["val_accuracy"] < by_accuracy["val_accuracy"]
    page = (tmp_path / "loss" / "report.html").read_text()
    assert f"validation loss {by_loss['value']:.4f}." in page
    assert "validation accuracy" not in page


def test_trials_are_judged_by_macro_f1_where_that_is_monitored(tmp_path: Path) -> None:
    found = tune({**SMALL, "monitor": "macro-f1"}, {"lr": Choice((0.01, 1e-6))}, tmp_path, sampler="grid")
    run = Run.open(found["run"])
    assert (found["judged_by"], found["params"]) == ("validation macro F1", {"lr": 0.01})
    assert found["value"] == max(row["val_macro_f1"] for row in run.history)
    assert found["value"] == pytest.approx(run.evaluate(split="val").macro_f1)


def test_trials_on_several_labels_are_judged_by_mean_average_precision(tmp_path: Path) -> None:
    digits = load_digits()
    labels = np.stack([digits.target % 2, digits.target > 4], axis=1)  # odd, large
    np.savez(tmp_path / "d.npz", x_train=digits.images.astype(np.uint8)[..., None], y_train=labels)
    found = tune(
        {**SMALL, "data": str(tmp_path / "d.npz"), "model": "INPUT(8,8,1) => FC"},
        GRID,
        tmp_path / "s",
        sampler="grid",
    )
    summary = Run.open(found["run"]).summary
    assert found["judged_by"] == "validation mean average precision"
    assert found["value"] == summary["val_map"] > found["val_accuracy"] == summary["val_accuracy"]
    assert "validation mean average precision" in (tmp_path / "s" / "report.html").read_text()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds no search"):
        tune(SMALL, GRID, tmp_path, sampler="grid")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"split": "80/0/20"}, "a search needs a validation split"),
        ({"data": "digts"}, "digts"),
    ],
)
def test_what_no_trial_could_use_is_refused_before_the_first(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(StriateError, match=said):
        tune({**SMALL, **settings}, GRID, tmp_path / "s", sampler="grid")
    assert not (tmp_path / "s").exists()


def test_a_folder_holds_one_search(tmp_path: Path) -> None:
    found = tune(SMALL, GRID, tmp_path, sampler="grid")
    other = {**SMALL, "epochs": 2, "monitor": "loss"}
    with pytest.raises(UsageError, match="another search: --epochs 1 -> 2; --monitor accuracy -> loss"):
        tune(other, GRID, tmp_path, sampler="grid")
    with pytest.raises(UsageError, match=r"--search lr=1e-05,0.001,0.1 -> lr=0.0001..0.1:log"):
        tune(SMALL, ANY_RATE, tmp_path)
    assert tune({**SMALL, "workers": 1}, GRID, tmp_path, sampler="grid") == found


def test_a_search_begun_when_sgd_had_no_momentum_goes_on_without(tmp_path: Path) -> None:
    settings = {**SMALL, "opt": "sgd"}
    found = tune(settings, GRID, tmp_path, sampler="grid")
    study = study_in(tmp_path)
    older = {"momentum": 0.9, "ema_decay": 0.999}  # such a search wrote down every field, heard or not
    study.set_user_attr("settings", study.user_attrs["settings"] | older)
    assert tune(settings, GRID, tmp_path, sampler="grid") == found
    with pytest.raises(UsageError, match=r"another search: --momentum 0\.0 -> 0\.9"):
        tune({**settings, "momentum": 0.9}, GRID, tmp_path, sampler="grid")


def test_no_time_for_a_trial_is_told(tmp_path: Path) -> None:
    with pytest.raises(StriateError, match="no trial of 0 came to its end"):
        tune(SMALL, GRID, tmp_path, timeout=-1)


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
    assert tune(SMALL, {"model": model}, tmp_path, sampler="grid") == found  # it would fail again
    with pytest.raises(StriateError, match="no trial of 1"):
        tune(SMALL, {"model": Choice(model.values[:1])}, tmp_path / "bad", sampler="grid")


def careless(width: int = 4, num_classes: int = 10) -> nn.Module:
    """A user's network with an error of its own."""
    raise ValueError("width is odd")


def test_an_error_in_code_of_others_is_that_trial_s(tmp_path: Path) -> None:
    model = Choice((f"{__name__}:careless", LINEAR))
    found = tune(SMALL, {"model": model}, tmp_path, sampler="grid")
    assert (found["complete"], found["failed"]) == (1, 1)
    assert study_in(tmp_path).trials[0].user_attrs["error"] == "width is odd"


def test_values_that_kill_every_trial_are_given_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name=tmp_path.name, direction="maximize")
    killed = {
        "params": {"lr": RATES[1]},
        "distributions": {"lr": optuna.distributions.CategoricalDistribution(RATES)},
    }
    for _ in range(3):
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, **killed))
    tune(SMALL, GRID, tmp_path, sampler="grid")
    assert rates(tmp_path) == [RATES[0], RATES[2]]


def test_losses_that_mean_different_things_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="trials with another --smoothing have another loss"):
        tune({**SMALL, "monitor": "loss"}, {"smoothing": Range(0.0, 0.2)}, tmp_path)


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
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    first, second = said.err.splitlines()
    assert first.startswith("1 of 2  trial 0 complete  ")
    best = f"best {100 * found['value']:.2f} % (trial {found['best_trial']})"
    assert second.startswith("2 of 2  trial 1 complete  ")
    assert second.endswith(best)
    assert found["trials"] == 2
    assert found["params"]["lr"] in (0.01, 0.1)
    assert main([*words, "--lr", "0.1"]) == 2
    assert "--lr is given and searched" in capsys.readouterr().err

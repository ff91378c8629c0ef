"""Trials of recipes: Optuna chooses values and prunes, each trial is an ordinary run.

Selection looks at the validation split alone. The study is a database that many processes and machines may share.
"""

import itertools
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import StriateError, UsageError
from striate.train import Run, recipe
from striate.train.recipe import Recipe
from striate.tune.space import Axis
from striate.tune.trial import Failed, lost, run_trial, settled
from striate.tune.words import measure

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

HEARTBEAT = 30  # seconds; a trial silent for twice as long is taken as killed
TRIALS = 20
SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "hyperband", "none")
Told = Callable[["optuna.Study", "FrozenTrial"], None]


def tune(
    settings: Mapping[str, Any],
    axes: Mapping[str, Axis],
    output: Path | str,
    trials: int | None = None,
    sampler: str = "tpe",
    pruner: str = "median",
    timeout: float | None = None,
    storage: str | None = None,
    listeners: Sequence[Any] = (),
    told: Sequence[Told] = (),
) -> dict[str, Any]:
    """Train recipes made of `settings` and a value of every axis; the winner's run folder stays, with a report.

    trials: in all, those of an earlier call in the same folder included; by default 20, or the whole grid. timeout: s.
    storage: an Optuna storage URL that other machines use too, by default a SQLite file in `output`. Returns {run,
    report, trials, complete, pruned, failed, best_trial, judged_by, value, val_accuracy, test_accuracy, params}.
    Raises UsageError before the first trial where an end of an axis makes no recipe, and without a validation split.
    """
    output = Path(output)
    for name, axis in axes.items():
        for value in axis.ends:
            recipe({**settings, name: value})
    base = recipe({**settings, **{name: axis.ends[0] for name, axis in axes.items()}})
    grid = _grid(axes) if sampler == "grid" else None
    most = trials if trials is not None else TRIALS if grid is None else inf
    study = _open(output, storage, base, sampler, pruner)

    def stop_when_done(study: "optuna.Study", trial: "FrozenTrial") -> None:
        if _left(study, most, grid) <= 0:
            study.stop()

    if _left(study, most, grid) > 0:
        study.set_user_attr("planned", _planned(study, most, grid))
        study.optimize(
            lambda trial: run_trial(trial, settings, axes, output, listeners),
            timeout=timeout,
            catch=(Failed,),
            callbacks=[_keep_best(output), *told, stop_when_done],
        )
    return _outcome(study, output)


def _open(output: Path, storage: str | None, base: Recipe, sampler: str, pruner: str) -> "optuna.Study":
    """The study of that folder, begun or gone on with."""
    optuna = _optuna()
    output.mkdir(parents=True, exist_ok=True)
    url = storage or f"sqlite:///{(output / 'study.db').resolve()}"
    direction = "minimize" if base.monitor == "loss" else "maximize"
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(url, heartbeat_interval=HEARTBEAT),
            study_name=output.name,
            direction=direction,
            pruner=_pruner(pruner, base.epochs),
            load_if_exists=True,
        )
        optuna.storages.fail_stale_trials(study)
    if study.direction.name.lower() != direction:
        raise UsageError(
            f"the trials in {output} are judged by their {measure(study)}, not by --monitor {base.monitor}",
            "another --output",
        )
    # points that this seed has drawn before, here or on another machine, aren't drawn again
    seed = None if storage else base.seed + len(study.trials)
    samplers = optuna.samplers
    study.sampler = samplers.TPESampler(seed=seed) if sampler == "tpe" else samplers.RandomSampler(seed=seed)
    return study


def _grid(axes: Mapping[str, Axis]) -> list[dict[str, Any]]:
    """Every combination of values."""
    values = [axis.grid(name) for name, axis in axes.items()]
    return [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*values)]


def _left(study: "optuna.Study", most: float, grid: list[dict[str, Any]] | None) -> float:
    """How many trials are still to begin; those of a grid are asked for here."""
    done = sum(map(settled, study.get_trials(deepcopy=False)))
    return most - done if grid is None else min(_ask(study, grid), most - done)


def _ask(study: "optuna.Study", grid: list[dict[str, Any]]) -> int:
    """Ask for the combinations that no trial has had; how many trials wait."""
    found = [trial for trial in study.get_trials(deepcopy=False) if not lost(trial)]
    asked = {frozenset(t.system_attrs.get("fixed_params", t.params).items()) for t in found}
    missing = [values for values in grid if frozenset(values.items()) not in asked]
    for values in missing:
        study.enqueue_trial(values)
    return len(missing) + sum(trial.state.name == "WAITING" for trial in found)


def _planned(study: "optuna.Study", most: float, grid: list[dict[str, Any]] | None) -> float:
    """How many trials there will be when the search is over."""
    asked = sum(not lost(trial) for trial in study.get_trials(deepcopy=False))
    return most if grid is None else min(asked, most)


def _keep_best(output: Path) -> Told:
    """After each trial only the best keeps its run folder; of the others the study keeps values and curves."""

    def keep(study: "optuna.Study", trial: "FrozenTrial") -> None:
        trials = study.get_trials(deepcopy=False)
        complete = [t for t in trials if t.state.name == "COMPLETE"]
        best = study.best_trial.number if complete else None
        for folder in (output / "trials").glob("*"):
            number = int(folder.name)
            if trials[number].state.is_finished() and number != best:
                shutil.rmtree(folder, ignore_errors=True)

    return keep


def _outcome(study: "optuna.Study", output: Path) -> dict[str, Any]:
    from striate.train.report import write_report
    from striate.tune.page import write_page

    trials = [trial for trial in study.trials if settled(trial)]
    states = [trial.state.name for trial in trials]
    if "COMPLETE" not in states:
        causes = [t.user_attrs["error"] for t in trials if "error" in t.user_attrs]
        raise StriateError(f"no trial of {len(trials)} came to its end" + f": {causes[-1]}" * bool(causes))
    best = study.best_trial
    folder = Path(best.user_attrs["run"])
    if folder.is_dir():  # else on the machine that trained it
        write_report(Run.open(folder))
    return {
        "run": str(folder),
        "report": str(write_page(study, output)),
        "trials": len(trials),
        "complete": states.count("COMPLETE"),
        "pruned": states.count("PRUNED"),
        "failed": states.count("FAIL"),
        "best_trial": best.number,
        "judged_by": measure(study),
        "value": best.value,
        "val_accuracy": best.user_attrs.get("val_accuracy"),
        "test_accuracy": best.user_attrs.get("test_accuracy"),
        "params": best.params,
    }


def _pruner(name: str, epochs: int) -> "optuna.pruners.BasePruner":
    optuna = _optuna()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, epochs // 4))
    return optuna.pruners.NopPruner()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError("`striate tune` needs Optuna", "pip install 'striate[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would tell of a failed trial with a trace
    return optuna

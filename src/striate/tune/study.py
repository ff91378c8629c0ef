"""Trials of recipes: Optuna chooses values and prunes, each trial is an ordinary run.

Selection looks at the validation split alone. The study is a database that many processes and machines may share.
"""

import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import StriateError, UsageError
from striate.train import Run, phases
from striate.train.changes import HARMLESS
from striate.train.nature import flag, natures, no_say
from striate.train.optim import defaults
from striate.train.recipe import Recipe
from striate.tune.combine import checked, combinations
from striate.tune.space import Axis
from striate.tune.trial import Failed, Taken, lost, run_trial, settled
from striate.tune.words import measure

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

HEARTBEAT = 30  # seconds; a trial silent for twice as long is taken as killed
TRIALS = 20
TRIES = 3  # of values whose trial was killed each time
TAKEN = "taken"  # attribute of a trial whose values another process tries
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
    Raises UsageError before the first trial where an end of an axis makes no recipe, without a validation split, and
    where `output` holds another search; DataError for data that can't be read.
    """
    output = Path(output)
    known = dict(natures(Recipe))
    base = checked(settings, axes)
    uneven = sorted(name for name in axes if known[name].search == "not by loss")
    if base.monitor == "loss" and uneven:
        raise UsageError(f"trials with another {flag(uneven[0])} have another loss", "--monitor accuracy")
    if not len(phases.start(base)[1].val):
        raise UsageError("a search needs a validation split", "--split 70/15/15")
    grid = combinations(settings, axes, lambda name, axis: axis.grid(name)) if sampler == "grid" else None
    most = trials if trials is not None else TRIALS if grid is None else inf
    study = _open(output, storage, base, pruner)
    elsewhere = {name for name, nature in known.items() if nature.elsewhere} if storage else set()
    _same_search(study, output, settings, base, axes, HARMLESS | elsewhere)

    def objective(trial: "optuna.Trial") -> float:
        # by its number: no other process draws the same, and a search that was stopped draws what it would have
        study.sampler = _sampler(sampler, base.seed + trial.number)
        if grid is not None and _taken(study, trial):
            trial.set_user_attr(TAKEN, True)
            raise Taken
        return run_trial(trial, settings, axes, output, listeners)

    def stop_when_done(study: "optuna.Study", trial: "FrozenTrial") -> None:
        if _left(study, most, grid) <= 0:
            study.stop()

    if _left(study, most, grid) > 0:
        study.set_user_attr("planned", _planned(study, most, grid))
        study.optimize(
            objective,
            timeout=timeout,
            catch=(Failed, Taken),
            callbacks=[_keep_best(output), *told, stop_when_done],
        )
    return _outcome(study, output)


def _open(output: Path, storage: str | None, base: Recipe, pruner: str) -> "optuna.Study":
    """The study of that folder, begun or gone on with."""
    optuna = _optuna()
    output.mkdir(parents=True, exist_ok=True)
    file = output / "study.db"
    if not storage and not file.is_file() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty and holds no search", "name another --output")
    url = storage or f"sqlite:///{file.resolve()}"
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
    return study


def _same_search(
    study: "optuna.Study",
    output: Path,
    settings: Mapping[str, Any],
    base: Recipe,
    axes: Mapping[str, Axis],
    free: set[str],
) -> None:
    """Refuse to count the trials of other settings or values: they can't be compared."""
    heard = {name for name, nature in natures(Recipe) if no_say(base, nature) is None}
    compared = (heard | settings.keys()) - free - axes.keys()
    usual = {"momentum": defaults(base.opt).momentum} if base.momentum is None else {}
    fixed = {k: v for k, v in (base.model_dump(mode="json") | usual).items() if k in compared}
    fixed["search"] = " ".join(f"{name}={axis}" for name, axis in axes.items())
    before = study.user_attrs.get("settings", fixed)
    # written, with all fields, when sgd had no momentum
    if base.opt == "sgd" and before.keys() - fixed.keys():
        before = before | {"momentum": 0.0}
    changed = [
        f"{flag(name)} {before[name]} -> {value}"
        for name, value in fixed.items()
        if before.get(name, value) != value
    ]
    if changed:
        raise UsageError(f"{output} holds another search: {'; '.join(changed)}", "name another --output")
    study.set_user_attr("settings", fixed)


def _left(study: "optuna.Study", most: float, grid: list[dict[str, Any]] | None) -> float:
    """How many trials are still to begin; those of a grid are asked for here."""
    done = sum(map(settled, study.get_trials(deepcopy=False)))
    return most - done if grid is None else min(_ask(study, grid), most - done)


def _ask(study: "optuna.Study", grid: list[dict[str, Any]]) -> int:
    """Ask for the combinations that no trial has had, nor was killed with `TRIES` times; how many trials wait."""
    trials = study.get_trials(deepcopy=False)
    found = [trial for trial in trials if not lost(trial)]
    killed = Counter(_values(trial) for trial in trials if lost(trial) and TAKEN not in trial.user_attrs)
    asked = {_values(trial) for trial in found} | {values for values, n in killed.items() if n >= TRIES}
    missing = [values for values in grid if frozenset(values.items()) not in asked]
    for values in missing:
        study.enqueue_trial(values)
    return len(missing) + sum(trial.state.name == "WAITING" for trial in found)


def _taken(study: "optuna.Study", trial: "optuna.Trial") -> bool:
    """Whether an earlier trial has these values: two processes that begin a grid at once both ask for all of it."""
    trials = study.get_trials(deepcopy=False)
    mine = _values(trials[trial.number])
    return any(_values(other) == mine for other in trials[: trial.number] if not lost(other))


def _values(trial: "FrozenTrial") -> frozenset[tuple[str, Any]]:
    return frozenset(trial.system_attrs.get("fixed_params", trial.params).items())


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
        for other in trials:
            if other.state.is_finished() and other.number != best:
                shutil.rmtree(output / "trials" / str(other.number), ignore_errors=True)

    return keep


def _outcome(study: "optuna.Study", output: Path) -> dict[str, Any]:
    from striate.train.report import write_report
    from striate.tune.page import write_page

    trials = [trial for trial in study.trials if settled(trial)]
    states = [trial.state.name for trial in trials]
    if "COMPLETE" not in states:
        causes = [f": {t.user_attrs['error']}" for t in trials if "error" in t.user_attrs]
        raise StriateError(f"no trial of {len(trials)} came to its end{''.join(causes[-1:])}")
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


def _sampler(name: str, seed: int) -> "optuna.samplers.BaseSampler":
    samplers = _optuna().samplers
    return samplers.TPESampler(seed=seed) if name == "tpe" else samplers.RandomSampler(seed=seed)


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

"""Trials of recipes: Optuna chooses values and prunes, each trial is an ordinary run.

Selection looks at the validation split alone. The study is a database that many processes and machines may share.
"""

import itertools
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import StriateError, UsageError
from striate.train import Run, recipe, train
from striate.train.events import Listener, State
from striate.tune.space import Axis

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

HEARTBEAT = 30  # seconds; a trial silent for twice as long is taken as killed
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
    storage: an Optuna storage URL that other machines use too, by default a SQLite file in `output`. Returns
    {run, trials, complete, pruned, failed, best_trial, val_accuracy, test_accuracy, params}. Raises UsageError
    before the first trial where an end of an axis makes no recipe.
    """
    optuna = _optuna()
    output = Path(output)
    for name, axis in axes.items():
        for value in axis.ends:
            recipe({**settings, name: value})
    base = recipe({**settings, **{name: axis.ends[0] for name, axis in axes.items()}})
    output.mkdir(parents=True, exist_ok=True)
    url = storage or f"sqlite:///{(output / 'study.db').resolve()}"
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        database = optuna.storages.RDBStorage(url, heartbeat_interval=HEARTBEAT)
    study = optuna.create_study(
        storage=database,
        study_name=output.name,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=base.seed)
        if sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=base.seed),
        pruner=_pruner(pruner, base.epochs),
        load_if_exists=True,
    )
    if sampler == "grid":
        trials = _enqueue_grid(study, axes)
    left = (20 if trials is None else trials) - sum(t.state.is_finished() for t in study.trials)
    if left > 0:
        study.optimize(
            lambda trial: _one(trial, settings, axes, output, listeners),
            n_trials=left,
            timeout=timeout,
            catch=(StriateError, RuntimeError, MemoryError),
            callbacks=[_keep_best(output), *told],
        )
    return _outcome(study, output)


def _one(
    trial: "optuna.Trial",
    settings: Mapping[str, Any],
    axes: Mapping[str, Axis],
    output: Path,
    listeners: Sequence[Any],
) -> float:
    """The best validation accuracy of a run with the values that `trial` chooses."""
    chosen = {name: axis.suggest(name, trial) for name, axis in axes.items()}
    folder = output / "trials" / str(trial.number)
    trial.set_user_attr("run", str(folder))
    try:
        run = train(recipe({**settings, **chosen}), folder, [_Reporter(trial), *listeners], report=False)
    except (StriateError, RuntimeError, MemoryError) as error:
        trial.set_user_attr("error", " ".join(str(error).split()))
        raise
    value = run.summary["val_accuracy"]
    if value is None:
        raise UsageError("a search needs a validation split", "--split 70/15/15")
    trial.set_user_attr("test_accuracy", run.summary["test_accuracy"])
    return float(value)


class _Reporter(Listener):
    """Tells the study how a trial goes, and ends one that goes badly."""

    def __init__(self, trial: "optuna.Trial") -> None:
        self.trial = trial

    def on_epoch(self, state: State) -> None:
        if "val_accuracy" in state.metrics:
            self.trial.report(state.metrics["val_accuracy"], state.epoch)
            if self.trial.should_prune():
                raise _optuna().TrialPruned


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

    counts = Counter(trial.state.name for trial in study.trials)
    if not counts["COMPLETE"]:
        causes = [t.user_attrs["error"] for t in study.trials if "error" in t.user_attrs]
        raise StriateError(
            f"no trial of {len(study.trials)} came to its end" + f": {causes[-1]}" * bool(causes)
        )
    best = study.best_trial
    folder = Path(best.user_attrs["run"])
    if folder.is_dir():  # else on the machine that trained it
        write_report(Run.open(folder))
    return {
        "run": str(folder),
        "report": str(write_page(study, output)),
        "trials": len(study.trials),
        "complete": counts["COMPLETE"],
        "pruned": counts["PRUNED"],
        "failed": counts["FAIL"],
        "best_trial": best.number,
        "val_accuracy": best.value,
        "test_accuracy": best.user_attrs.get("test_accuracy"),
        "params": best.params,
    }


def _enqueue_grid(study: "optuna.Study", axes: Mapping[str, Axis]) -> int:
    """Ask for every combination that was not asked for before; returns how many there are."""
    grid = [axis.grid(name) for name, axis in axes.items()]
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*grid)]
    for values in combinations:
        study.enqueue_trial(values, skip_if_exists=True)
    return len(combinations)


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
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna

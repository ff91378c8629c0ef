"""One trial: an ordinary run, judged as `train` judges its epochs, by what its recipe monitors."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import StriateError
from striate.train import recipe, train
from striate.train.events import Listener, State
from striate.train.hooks.watch import score
from striate.train.signals import Interrupted
from striate.train.written import heeded
from striate.tune.combine import choose
from striate.tune.space import Axis

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial


class Failed(Exception):
    """A trial's values led to an error; the search goes on."""


class Taken(Exception):
    """Another process has an earlier trial with the same values."""


def run_trial(
    trial: "Trial",
    settings: Mapping[str, Any],
    axes: Mapping[str, Axis],
    output: Path,
    listeners: Sequence[Any],
) -> float:
    """Train with the values that `trial` chooses; returns what its best epoch is judged by."""
    from optuna import TrialPruned

    chosen = choose(settings, axes, lambda name, axis: axis.suggest(name, trial))
    folder = output / "trials" / str(trial.number)
    trial.set_user_attr("run", str(folder))
    try:
        asked = heeded(recipe({**settings, **chosen}, asked=()))
        run = train(asked, folder, [_Reporter(trial, asked.monitor), *listeners], report=False)
        value = _value(run.model().metrics, asked.monitor)
        if not isfinite(value):
            raise StriateError(f"it is judged by {value}")
    except (Interrupted, KeyboardInterrupt, SystemExit) as stop:
        trial.study.enqueue_trial(chosen)
        if isinstance(stop, Interrupted):
            stop.hint = "the same command goes on with the search"
        raise
    except TrialPruned:
        raise
    except Exception as error:
        trial.set_user_attr("error", " ".join(str(error).split()) or type(error).__name__)
        raise Failed from error
    for name, figure in run.summary.items():
        if name.startswith(("val_", "test_")):
            trial.set_user_attr(name, figure)
    return value


def lost(trial: "FrozenTrial") -> bool:
    """Whether a trial was killed or interrupted: its values count as never tried."""
    return trial.state.name == "FAIL" and "error" not in trial.user_attrs


def settled(trial: "FrozenTrial") -> bool:
    """Whether a trial has an outcome: a value, an early end, or an error of its own."""
    return trial.state.is_finished() and not lost(trial)


def _value(metrics: dict[str, float], monitor: str) -> float:
    """The watched metric as it is; as a score, a loss has its sign turned."""
    found = score(metrics, monitor)
    return -found if monitor == "loss" else found


class _Reporter(Listener):
    """Tells the study how a trial goes, and ends one that goes badly."""

    def __init__(self, trial: "Trial", monitor: str) -> None:
        self.trial, self.monitor = trial, monitor

    def on_epoch(self, state: State) -> None:
        from optuna import TrialPruned

        value = _value(state.metrics, self.monitor)
        if isfinite(value):
            self.trial.report(value, state.before + state.epoch)
            if self.trial.should_prune():
                raise TrialPruned

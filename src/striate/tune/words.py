"""A study in words: what its trials are judged by, how one went, where the search stands."""

from typing import TYPE_CHECKING

from striate.tune.trial import settled

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

LOSS = "validation loss"
NAMES = {"balanced-accuracy": "balanced accuracy", "macro-f1": "macro F1"}


def measure(study: "Study") -> str:
    """What the trials are judged by."""
    if study.direction.name == "MINIMIZE":
        return LOSS
    monitor = study.user_attrs.get("settings", {}).get("monitor", "accuracy")
    if monitor != "accuracy":
        return f"validation {NAMES.get(monitor, monitor + ' accuracy')}"
    several = any("val_map" in trial.user_attrs for trial in study.get_trials(deepcopy=False))
    return "validation mean average precision" if several else "validation accuracy"


def figure(value: float, judged_by: str) -> str:
    """A value as people read it: 0.9333 -> `93.33 %`, a loss as it is."""
    return f"{value:.4f}" if judged_by == LOSS else f"{100 * value:.2f} %"


def line(study: "Study", trial: "FrozenTrial") -> str:
    """How a trial went, and the best so far: `3 of 20  trial 2 complete  93.33 %  1.4 s  lr 0.01  best ...`."""
    trials = study.get_trials(deepcopy=False)
    name, done = measure(study), sum(map(settled, trials))
    parts = [f"{done} of {study.user_attrs['planned']}", f"trial {trial.number} {trial.state.name.lower()}"]
    parts.append(trial.user_attrs.get("error", "") if trial.value is None else figure(trial.value, name))
    if trial.duration:
        parts.append(f"{trial.duration.total_seconds():.1f} s")
    parts += [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in trial.params.items()]
    if any(t.state.name == "COMPLETE" for t in trials):
        parts.append(f"best {figure(study.best_value, name)} (trial {study.best_trial.number})")
    return "  ".join(parts)

"""What of a recipe may be another when a run goes on, and what may not."""

from collections.abc import Mapping, Sequence
from typing import Any

from striate.errors import UsageError
from striate.train.nature import flag, natures
from striate.train.recipe import Recipe
from striate.train.run import with_rates
from striate.train.written import altered

NATURES = dict(natures(Recipe))
HARMLESS = {name for name, nature in NATURES.items() if nature.resume == "freely"}


def changed(before: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with `changes`; another optimiser has a rate, a decay and a momentum of its own."""
    if changes.get("opt", before.opt) != before.opt:
        before = before.model_copy(update=dict.fromkeys(("lr", "weight_decay", "momentum")))
    return with_rates(altered(before, changes))


def as_begun(r: Recipe, groups: Sequence[Mapping[str, Any]]) -> Recipe:
    """The recipe with the momentum of the state: a run begun when `sgd` had none says 0.9 and means 0."""
    known = {"momentum": groups[0]["momentum"]} if r.opt == "sgd" and groups else {}
    return r.model_copy(update=known)


def refuse_another_beginning(before: Recipe, after: Recipe) -> None:
    """What a run began with stays, whatever is allowed."""
    for name, nature in NATURES.items():
        if nature.resume == "never" and (was := getattr(before, name)) != getattr(after, name):
            value = " ".join(str(was).split())
            raise UsageError(
                f"a run keeps what it began with: its {flag(name)} is {value}", "start a new run"
            )


def differences(before: Recipe, after: Recipe) -> list[tuple[str, Any, Any]]:
    """Flag, old and new value of what may not change when a run goes on."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    free = {name for name, nature in NATURES.items() if nature.resume in ("freely", "longer")}
    return [(flag(k), old[k], new[k]) for k in old if k not in free and old[k] != new[k]]


def refuse_changes(found: list[tuple[str, Any, Any]]) -> None:
    """Raise UsageError that shows what would make another run of this one."""
    if found:
        diff = "; ".join(f"{name} {a} -> {b}" for name, a, b in found)
        raise UsageError(f"this would be another run: {diff}", "--allow-changes goes on all the same")

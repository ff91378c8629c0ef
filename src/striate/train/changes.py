"""What of a recipe may be another when a run goes on, and what may not."""

from typing import Any

from striate.errors import UsageError
from striate.train.recipe import Recipe, recipe
from striate.train.run import with_rates

# what may change when a run goes on: what has no part in its result, and how long it is
HARMLESS = {"workers", "save_every", "keep", "health", "track", "cache", "cache_limit", "offline"}
FREE = HARMLESS | {"epochs", "stop_after"}
# what can't
BEGINNING = (
    "model", "init", "whiten", "img_size", "in_chans", "split", "classes", "columns", "weights", "pretrained",
    "freeze", "head", "unfreeze",
)  # fmt: skip


def changed(before: Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe with `changes`; another optimiser has a learning rate and a decay of its own."""
    settings = before.model_dump()
    if changes.get("opt", before.opt) != before.opt:
        settings |= {"lr": None, "weight_decay": None}
    return with_rates(recipe({**settings, **changes}))


def refuse_another_beginning(before: Recipe, after: Recipe) -> None:
    """What a run began with stays, whatever is allowed."""
    for word in BEGINNING:
        if (was := getattr(before, word)) != getattr(after, word):
            flag, value = word.replace("_", "-"), " ".join(str(was).split())
            raise UsageError(f"a run keeps what it began with: its --{flag} is {value}", "start a new run")


def differences(before: Recipe, after: Recipe) -> list[tuple[str, Any, Any]]:
    """Flag, old and new value of what may not change when a run goes on."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return [(f"--{k.replace('_', '-')}", old[k], new[k]) for k in old if k not in FREE and old[k] != new[k]]


def refuse_changes(found: list[tuple[str, Any, Any]]) -> None:
    """Raise UsageError that shows what would make another run of this one."""
    if found:
        diff = "; ".join(f"{name} {a} -> {b}" for name, a, b in found)
        raise UsageError(f"this would be another run: {diff}", "--allow-changes goes on all the same")

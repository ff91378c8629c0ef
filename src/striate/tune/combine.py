"""Which values of a search go together: an axis counts only where its field has a say."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from striate.train.nature import natures, no_say
from striate.train.recipe import Recipe
from striate.train.written import recipe
from striate.tune.space import Axis, Choice, Value

Settings = Mapping[str, Any]
# a field's say is decided by fields before it, and by none of these groups
NATURES = dict(sorted(natures(Recipe), key=lambda item: item[1].group in ("data", "network")))


def choose(
    settings: Settings, axes: Mapping[str, Axis], pick: Callable[[str, Axis], Value]
) -> dict[str, Value]:
    """What `pick` chooses for every axis that has a say beside `settings` and what was chosen before it."""
    chosen: dict[str, Value] = {}
    for name in filter(axes.__contains__, NATURES):
        if heard({**settings, **chosen}, name):
            chosen[name] = pick(name, axes[name])
    return chosen


def combinations(
    settings: Settings, axes: Mapping[str, Axis], values: Callable[[str, Axis], Sequence[Value]]
) -> list[dict[str, Value]]:
    """Every combination of the `values` of axes that have a say in it."""
    found: list[dict[str, Value]] = [{}]
    for name in filter(axes.__contains__, NATURES):
        found = [
            {**before, **more}
            for before in found
            for more in (
                [{name: value} for value in values(name, axes[name])]
                if heard({**settings, **before}, name)
                else [{}]
            )
        ]
    return found


def checked(settings: Settings, axes: Mapping[str, Axis]) -> Recipe:
    """The first recipe of a search; raises UsageError where one is none, or what was set or is searched has no say."""
    for name, axis in axes.items():
        for value in axis.ends:
            recipe({**settings, name: value}, asked=())
    tried = combinations(
        settings, axes, lambda _, axis: axis.ends if isinstance(axis, Choice) else axis.ends[:1]
    )
    first = {name: axis.ends[0] for name, axis in axes.items()}
    for name in (*settings, *axes):
        if not any(heard({**settings, **values}, name) for values in tried):
            recipe({**settings, **first}, asked=[name])
    return recipe({**settings, **tried[0]}, asked=())


def heard(settings: Settings, name: str) -> bool:
    """Whether field `name` has a say in the recipe of `settings`."""
    return no_say(recipe(settings, asked=()), NATURES[name]) is None

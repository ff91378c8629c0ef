"""What a field of the recipe is beyond its value: where it belongs, when it has a say, when it may change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, Field

Group = Literal["data", "network", "transfer", "optimisation", "run"]
# whether a run that goes on may have another value: `freely`, where it has no part in the result; `longer`, where it
# decides only how long the run is; `allowed`, with --allow-changes; `never`, where the run began with it
Resume = Literal["freely", "longer", "allowed", "never"]
Search = Literal["yes", "no", "not by loss"]
# property of a recipe: why a field that needs it has no say, and what would give it one
WITHOUT = {
    "weights": ("--weights tells what the network starts from", ""),
    "starts_trained": ("the network starts from fresh weights", "--weights FILE or --pretrained"),
    "head_first": ("no head is fitted to frozen features", "--freeze features or --unfreeze N"),
    "trains_head": ("no head is trained in steps", "--freeze features or --unfreeze N, with --head linear or mlp"),
    "trains_network": (
        "a head alone is trained, on frozen features",
        "--unfreeze 1, which trains the last stage too; --head-epochs tells how long a head is trained",
    ),
    "fits_by_steps": ("such a head isn't trained in steps", "--head linear or mlp"),
    "unfreezes_more": ("no more than one stage is unfrozen", "--unfreeze N, for 2 stages or more"),
    "warms_up": ("the learning rate has no warm-up", "--sched one-cycle or cosine"),
    "decays": ("weights don't decay", "--weight-decay"),
    "is_patient": ("the run doesn't wait for an improvement", "--patience N"),
    "watches": ("nothing waits for an improvement", "--patience N or --sched plateau"),
}  # fmt: skip


@dataclass(frozen=True)
class Nature:
    """The nature of a field."""

    group: Group  # its heading in --help
    resume: Resume = "allowed"
    head: bool = False  # whether it has a say where a head alone is trained
    search: Search = "yes"  # whether trials of one search may differ in it
    estimator: bool = False  # whether it means something without files, a validation split and a run folder
    elsewhere: bool = False  # whether machines that share a search may differ in it
    needs: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # values of others that give it a say
    short: str = ""  # flag of one letter

    def but(self, **other: Any) -> "Nature":
        """The same with some facts otherwise."""
        return replace(self, **other)


def setting(nature: Nature, default: Any, description: str, **limits: Any) -> Any:
    """A field of the recipe."""
    return Field(default, description=description, json_schema_extra={"nature": nature}, **limits)  # type: ignore[dict-item]


def natures(kind: type[BaseModel]) -> Iterator[tuple[str, Nature]]:
    """Each field of the recipe with its nature; raises TypeError for one that states none."""
    for name, info in kind.model_fields.items():
        stated = info.json_schema_extra
        if not isinstance(stated, dict) or not isinstance(nature := stated.get("nature"), Nature):
            raise TypeError(f"the recipe's field {name} states no nature: declare it by `setting`")
        yield name, nature


def flag(name: str) -> str:
    """`ema_decay` -> `--ema-decay`."""
    return f"--{name.replace('_', '-')}"


def no_say(recipe: BaseModel, nature: Nature) -> tuple[str, str] | None:
    """Why a field of this nature has no say in `recipe`, and what would give it one; None where it has."""
    needs = dict(nature.needs) if nature.head else {"trains_network": (True,), **nature.needs}
    for other, values in needs.items():
        if (value := getattr(recipe, other)) not in values:
            *most, last = map(str, values)
            choices = f"{', '.join(most)} or {last}" if most else last
            return WITHOUT.get(other) or (f"{flag(other)} is {value or 'unset'}", f"{flag(other)} {choices}")
    return None

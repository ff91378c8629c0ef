"""The recipe: everything that decides how a run goes, validated, and saved with the run."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from striate.errors import UsageError, nearest

Optimiser = Literal[
    "gd", "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "muon"
]
Schedule = Literal["constant", "step", "cosine", "one-cycle"]
Side = Annotated[int, Field(ge=1, le=4096)]
Loss = Literal["cross-entropy", "binary-cross-entropy"]


class Recipe(BaseModel):
    """What a run does. Words are those of the command line: `weight_decay` here is `--weight-decay` there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(description="data set name, folder, .npz, .zip or .csv")
    model: str = Field(description="zoo name, diagram, .diagram file, model file, or package.module:factory")
    epochs: int = Field(10, ge=1, le=1_000_000, description="passes over the training split")
    batch_size: int = Field(64, ge=1, description="images a step")
    lr: float | None = Field(None, gt=0, le=1e3, description="peak learning rate; default by optimiser")
    opt: Optimiser = Field("adamw", description="optimiser")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd-like optimisers")
    sched: Schedule = Field("one-cycle", description="how the learning rate moves over the run")
    warmup: float = Field(
        0.2, ge=0, lt=1, description="share of the run in which one-cycle and cosine climb to the peak"
    )
    weight_decay: float = Field(0.01, ge=0, description="decay of weights; norms and biases are left alone")
    loss: Loss = Field("cross-entropy", description="cross-entropy, or binary cross-entropy on one logit")
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    augment: Literal["none", "shift", "shift-flip"] = Field(
        "shift", description="random moves of training images"
    )
    img_size: tuple[Side, Side] | None = Field(
        None, description="height and width; default: what the network asks for"
    )
    in_chans: Literal[1, 3] | None = Field(None, description="channels; default: what the network asks for")
    num_classes: int | None = Field(None, ge=1, description="checked against the data")
    resize: Literal["squash", "crop", "pad"] = Field("squash", description="how images reach the size")
    split: tuple[float, float, float] = Field((0.7, 0.15, 0.15), description="train, validation, test shares")
    aux_weight: float = Field(
        0.3, ge=0, description="weight of auxiliary heads in the loss, where a network has them"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="decides splits, weights, order and augmentation")
    device: str = Field("auto", description="where to compute: auto, cpu, mps, cuda or cuda:N")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="arithmetic of the layers")
    workers: int = Field(2, ge=0, le=256, description="threads that read and decode images")

    @field_validator("img_size", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        """32, "32", "24,32" and "24x32" mean what people mean by them."""
        if isinstance(value, str):
            value = value.replace("x", ",").split(",")
        sides = value if isinstance(value, list | tuple | None) else [value]
        if sides is not None and len(sides) not in (1, 2):
            raise ValueError("one side or H,W in pixels")
        return tuple(sides) * 2 if sides is not None and len(sides) == 1 else value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            raise ValueError("auto, cpu, mps, cuda or cuda:N")
        return value

    @field_validator("split", mode="before")
    @classmethod
    def _percent(cls, value: Any) -> Any:
        """70/15/15 and 0.7,0.15,0.15 mean the same; 90/10 leaves the test split empty."""
        if isinstance(value, str):
            value = value.replace("/", ",").split(",")
        try:
            shares = [float(v) for v in value]
        except (TypeError, ValueError):
            return value
        shares += [0.0] * (3 - len(shares))
        return [v / 100 for v in shares] if sum(shares) > 1.5 else shares

    @model_validator(mode="after")
    def _shares(self) -> "Recipe":
        if min(self.split) < 0 or self.split[0] <= 0 or abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(f"split: shares must be positive and sum to 1, got {self.split}")
        return self


def recipe(settings: dict[str, Any], config: Path | None = None) -> Recipe:
    """Defaults, then the YAML file `config`, then `settings`; raises UsageError that names the field at fault."""
    merged = {**(_read(config) if config else {}), **{k: v for k, v in settings.items() if v is not None}}
    try:
        return Recipe(**merged)
    except ValidationError as error:
        raise UsageError(*_explain(error, config)) from None


def to_yaml(r: Recipe) -> str:
    """The recipe as YAML, every field with what it means."""
    lines = []
    for name, field in Recipe.model_fields.items():
        value = getattr(r, name)
        text = yaml.safe_dump(
            list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=10_000
        )
        lines.append(f"{name}: {text.removesuffix('...' + chr(10)).strip()}  # {field.description}")
    return "\n".join(lines) + "\n"


def _read(config: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"can't read {config}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{config} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{config}: expected `field: value` lines")
    return content


def _explain(error: ValidationError, config: Path | None) -> tuple[str, str]:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else "recipe"
    where = f"{config}: " if config else ""
    if first["type"] == "extra_forbidden":
        return f"{where}unknown field {field}", nearest(field, Recipe.model_fields)
    if first["type"] == "missing":
        return f"{where}{field} is missing", Recipe.model_fields[field].description or ""
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    hint = ""
    if first["type"] == "literal_error":
        hint = nearest(str(first["input"]), reason.replace(" or ", ", ").replace("'", "").split(", "))
    return (
        f"{where}{field}: expected {reason}, got {first['input']!r}" if field != "recipe" else where + reason,
        hint,
    )

"""The recipe: everything that decides how a run goes, validated, and saved with the run."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from striate.errors import UsageError, nearest
from striate.train.schedule import RULES, rules

Optimiser = Literal[
    "gd", "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "muon"
]
Schedule = Literal["constant", "step", "cosine", "one-cycle", "plateau"]
Rules = Annotated[str, Field(pattern=RULES)]
Side = Annotated[int, Field(ge=1, le=4096)]
Loss = Literal["cross-entropy", "focal", "binary-cross-entropy"]


class Recipe(BaseModel):
    """What a run does. Words are those of the command line: `weight_decay` here is `--weight-decay` there."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = Field(description="data set name, folder, .npz, .zip or .csv")
    model: str = Field(
        description="zoo name, name(argument=value), diagram or file of one, or package.module:factory"
    )
    weights: str | None = Field(
        None,
        description="file of weights to start from (torchvision, timm, Keras, striate), or a published tag",
    )
    pretrained: bool = Field(False, description="start from the network's published weights, downloaded once")
    offline: bool = Field(False, description="download nothing; say which file belongs where")
    freeze: Literal["none", "features"] = Field(
        "none", description="train a new head alone, on features computed once an image"
    )
    head: Literal["linear", "mlp", "logistic", "knn"] = Field("linear", description="kind of the new head")
    head_epochs: int = Field(30, ge=1, le=10_000, description="passes of the head over the features")
    unfreeze: int = Field(
        0, ge=0, le=1000, description="after the head, train the last so many stages with it"
    )
    gradual: bool = Field(False, description="unfreeze one stage after the other, the last first")
    layer_decay: float = Field(
        0.5, gt=0, le=1, description="with weights: learning rate of a stage in units of the next one's"
    )
    freeze_norms: bool = Field(
        True, description="with weights: batch norms keep their statistics, in what is trained too"
    )
    l2_sp: float = Field(0.0, ge=0, description="pull towards the weights that training started from")
    compare_scratch: bool = Field(False, description="train the same network without the weights as well")
    epochs: int = Field(10, ge=1, le=1_000_000, description="passes over the training split")
    batch_size: int = Field(64, ge=1, description="images a step")
    lr: float | None = Field(None, gt=0, le=1e3, description="peak learning rate; default by optimiser")
    opt: Optimiser = Field("adamw", description="optimiser")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd-like optimisers")
    sched: Schedule | Rules = Field(
        "one-cycle",
        description="how the learning rate moves; or 10:0.1,20:0.01: shares of lr from epochs 10 and 20 on",
    )
    warmup: float = Field(
        0.2, ge=0, lt=1, description="share of the run in which one-cycle and cosine climb to the peak"
    )
    plateau: int = Field(5, ge=1, description="epochs without improvement after which plateau lowers lr")
    plateau_factor: float = Field(0.1, gt=0, lt=1, description="what plateau leaves of lr")
    cooldown: int = Field(0, ge=0, description="epochs after such a step that plateau doesn't count")
    min_lr: float = Field(0.0, ge=0, description="plateau goes no lower")
    weight_decay: float | None = Field(
        None, ge=0, description="decay of weights, not of norms and biases; default by optimiser"
    )
    decay_all: bool = Field(False, description="decay norms and biases too")
    bias_lr: float = Field(1.0, gt=0, description="learning rate of norms and biases, in units of lr")
    clip: float | None = Field(None, gt=0, description="largest norm of the whole gradient")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    lookahead: int = Field(0, ge=0, description="steps after which weights go half-way back; 0 never")
    average: Literal["none", "ema", "swa"] = Field(
        "none", description="judge and keep a moving average (ema), or the mean over the last quarter (swa)"
    )
    ema_decay: float = Field(0.999, ge=0, lt=1, description="what a step leaves of the moving average")
    loss: Loss | None = Field(
        None, description="default: cross-entropy, binary where images have several labels"
    )
    focal_gamma: float = Field(2.0, ge=0, le=10, description="how little the focal loss heeds easy images")
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    augment: str = Field(
        "shift",
        description="what happens to training images: none, shift, shift-flip, cifar, digits, photos, or transforms "
        "as in 'random_crop(4), horizontal_flip, mixup'; a list of them in YAML",
    )
    balanced: bool = Field(False, description="draw every class equally often")
    class_weights: bool = Field(False, description="let rare classes count more in the training loss")
    img_size: tuple[Side, Side] | None = Field(
        None, description="height and width; default: what the network asks for"
    )
    in_chans: Literal[1, 3] | None = Field(None, description="channels; default: what the network asks for")
    num_classes: int | None = Field(None, ge=1, description="checked against the data")
    resize: Literal["squash", "crop", "pad"] = Field("squash", description="how images reach the size")
    split: tuple[float, float, float] | None = Field(
        None,
        description="train, validation, test shares; default: 70/15/15, or 90/10 beside a test split of the data's",
    )
    classes: str | None = Field(None, description="text file with the class names in order, one a line")
    allow_empty: bool = Field(False, description="keep classes without an image")
    columns: str | None = Field(
        None, description="columns of a table: path=file,label=kind; roles: path, label, split, group, weight"
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="stop before the first epoch, or decode all images first and leave those out"
    )
    cache: Literal["off", "ram", "disk"] = Field("disk", description="where decoded images are kept")
    cache_limit: int | None = Field(
        None, ge=0, description="room of the cache: 500MB, 20GB; default: 20 GiB of disk, half of the memory"
    )
    aux_weight: float = Field(
        0.3, ge=0, description="weight of auxiliary heads in the loss, where a network has them"
    )
    drop_path: float | None = Field(
        None, ge=0, lt=1, description="stochastic depth of the last branch; earlier ones less, in proportion"
    )
    init: str | None = Field(
        None, description="start weights by name, he_normal or zeros; default: those of the network"
    )
    grow: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="side of the first training images in units of the full one; then they grow",
    )
    whiten: bool = Field(False, description="start the first convolution as a fixed whitening of patches")
    patience: int | None = Field(None, ge=1, description="stop after so many epochs without improvement")
    min_delta: float = Field(0.0, ge=0, description="less than this is no improvement")
    patience_from: int = Field(1, ge=1, description="epoch in which patience begins to count")
    baseline: float | None = Field(
        None, description="value that patience wants to see beaten, not approached"
    )
    keep: int = Field(
        0, ge=0, description="model files of so many best epochs to keep in epochs/ beside the best"
    )
    monitor: Literal["accuracy", "loss"] = Field(
        "accuracy", description="what best, patience and plateau watch on the validation split"
    )
    stop_after: float | None = Field(
        None, gt=0, description="training time after which the run ends: 90, 30m, 2h"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="decides splits, weights, order and augmentation")
    device: str = Field("auto", description="where to compute: auto, cpu, mps, cuda or cuda:N")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="arithmetic of the layers")
    deterministic: bool = Field(False, description="refuse arithmetic whose last bits change from run to run")
    save_every: int | None = Field(
        None,
        ge=1,
        description="batches between two saves; default: as often as costs at most 2 % of the time",
    )
    health: bool = Field(
        True, description="record gradients, weights and dead units of each layer each epoch"
    )
    track: Literal["none", "tensorboard", "wandb"] = Field("none", description="who else hears the metrics")
    workers: int = Field(2, ge=0, le=256, description="threads that read and decode images")

    @field_validator("augment", mode="before")
    @classmethod
    def _transforms(cls, value: Any) -> str:
        """Text stays as it was typed; a YAML list becomes text."""
        from striate.data.augment import spell, transforms_of

        transforms = transforms_of(value)
        return value if isinstance(value, str) else spell(transforms)

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

    @field_validator("init")
    @classmethod
    def _scheme(cls, value: str | None) -> str | None:
        from striate.layers.init import check_scheme

        return value if value is None else check_scheme(value)

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            raise ValueError("auto, cpu, mps, cuda or cuda:N")
        return value

    @field_validator("sched")
    @classmethod
    def _rules(cls, value: str) -> str:
        if ":" in value:
            rules(value)
        return value

    @field_validator("cache_limit", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        """20GB is 20,000,000,000 bytes, 20GiB is 20 x 2^30."""
        if isinstance(value, str) and (m := re.fullmatch(r"(\d+\.?\d*)\s*([kmgt])(i?)b?", value.lower())):
            return int(float(m[1]) * (1024 if m[3] else 1000) ** ("kmgt".index(m[2]) + 1))
        return value

    @field_validator("stop_after", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        """30m is 1800 seconds."""
        match = re.fullmatch(r"([\d.]+)\s*([smh])", value) if isinstance(value, str) else None
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else value

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
        if self.split is None:
            return self
        if min(self.split) < 0 or self.split[0] <= 0 or abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(f"split: shares must be positive and sum to 1, got {self.split}")
        return self

    @model_validator(mode="after")
    def _together(self) -> "Recipe":
        if self.opt == "gd" and self.accumulate > 1:
            raise ValueError("accumulate: gd gathers the whole training split already")
        if self.balanced and self.class_weights:
            raise ValueError("class_weights: balanced draws make rare classes count as much already")
        if self.opt == "nesterov" and not self.momentum:
            raise ValueError("momentum: nesterov needs more than 0")
        if self.lookahead == 1:
            raise ValueError("lookahead: expected 0 or at least 2 steps, got 1")
        for word in ("init", "whiten"):
            if self.starts_trained and getattr(self, word):
                raise ValueError(f"{word}: the network starts from trained weights; leave out one of the two")
        if self.grow and self.head_only:
            raise ValueError("grow: features are computed once, from images of full size")
        if self.unfreeze and self.head == "knn":
            raise ValueError("unfreeze: nearest neighbours have nothing to train; head linear or mlp")
        return self

    @property
    def starts_trained(self) -> bool:
        """Whether the run starts from weights of elsewhere."""
        return self.weights is not None or self.pretrained

    @property
    def head_first(self) -> bool:
        """Whether a head is trained on frozen features before anything else."""
        return self.freeze == "features" or self.unfreeze > 0

    @property
    def head_only(self) -> bool:
        """Whether nothing but that head is trained."""
        return self.freeze == "features" and not self.unfreeze


def recipe(settings: dict[str, Any], config: Path | None = None) -> Recipe:
    """Defaults, then the YAML file `config`, then `settings`; raises UsageError that names the field at fault."""
    given = {k: v for k, v in settings.items() if v is not None}
    written = read_yaml(config) if config else {}
    try:
        return Recipe(**{**written, **given})
    except ValidationError as error:
        field = error.errors()[0]["loc"][:1]
        at_fault = field and field[0] in written and field[0] not in given
        raise UsageError(*_explain(error, config if at_fault else None)) from None


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


def read_yaml(config: Path) -> dict[str, Any]:
    """The fields in the YAML file `config`, not yet validated."""
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
    if isinstance(cause := first.get("ctx", {}).get("error"), UsageError):
        return f"{where}{field}: {cause}", cause.hint
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    hint = ""
    if first["type"] == "literal_error":
        hint = nearest(str(first["input"]), reason.replace(" or ", ", ").replace("'", "").split(", "))
    return (
        f"{where}{field}: expected {reason}, got {first['input']!r}" if field != "recipe" else where + reason,
        hint,
    )

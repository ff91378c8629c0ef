"""The recipe: every field that decides how a run goes, in one long table, and what they mean for each other."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from striate.errors import UsageError, nearest, shown
from striate.settings import typed
from striate.train.nature import Nature, flag, natures, no_say, setting
from striate.train.optim import MOMENTUM, defaults
from striate.train.schedule import RULES, rules

Optimiser = Literal[
    "gd", "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "muon"
]
Schedule = Literal["constant", "step", "cosine", "one-cycle", "plateau"]
NUMBER = r"\d+\.?\d*|\.\d+"
SPAN = rf"(?=.)(?:({NUMBER})\s*h)?\s*(?:({NUMBER})\s*m)?\s*(?:({NUMBER})\s*s)?"  # 1h30m
Rules = Annotated[str, Field(pattern=RULES)]
Side = Annotated[int, Field(ge=1, le=4096)]
Loss = Literal["cross-entropy", "focal", "binary-cross-entropy"]

YES = (True,)
DATA = Nature("data", resume="never", head=True)
NETWORK = Nature("network", resume="never", head=True, estimator=True)
TRANSFER = Nature("transfer", resume="never", head=True, needs={"starts_trained": YES})
TUNING = TRANSFER.but(resume="allowed", head=False)
OPTIMISATION = Nature("optimisation", estimator=True)
STEPS = OPTIMISATION.but(head=True, needs={"fits_by_steps": YES})
PLATEAU = OPTIMISATION.but(estimator=False, needs={"sched": ("plateau",)})
PATIENCE = OPTIMISATION.but(estimator=False, needs={"is_patient": YES})
RUN = Nature("run", resume="freely")

Monitor = Literal["accuracy", "loss", "balanced-accuracy", "macro-f1"]
TOP_K = r"^top-[1-9][0-9]*$"
TopK = Annotated[str, Field(pattern=TOP_K)]


class Recipe(BaseModel):
    """What a run does. Words are those of the command line: `weight_decay` here is `--weight-decay` there."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = setting(
        DATA.but(resume="allowed", search="no", elsewhere=True),
        ...,
        "data set name, folder, .npz, .zip or .csv",
    )
    img_size: tuple[Side, Side] | None = setting(
        DATA, None, "height and width; default: what the network asks for"
    )
    in_chans: Literal[1, 3] | None = setting(DATA, None, "channels; default: what the network asks for")
    num_classes: int | None = setting(DATA, None, "checked against the data", ge=1)
    resize: Literal["squash", "crop", "pad"] = setting(DATA, "squash", "how images reach the size")
    split: tuple[float, float, float] | None = setting(
        DATA,
        None,
        "train, validation, test shares; default: 70/15/15, or 90/10 beside a test split of the data's",
    )
    classes: str | None = setting(DATA, None, "text file with the class names in order, one a line")
    allow_empty: bool = setting(DATA, False, "keep classes without an image")
    columns: str | None = setting(
        DATA,
        None,
        "columns of a table: path=file,label=kind,weight= (none); roles: path, label, split, group, weight",
    )
    on_bad_image: Literal["error", "skip"] = setting(
        DATA.but(resume="allowed"),
        "error",
        "stop before the first epoch, or decode all images first and leave those out",
    )
    augment: str = setting(
        DATA.but(resume="allowed", head=False),
        "shift",
        "what happens to training images: none, shift, shift-flip, cifar, digits, photos, or transforms "
        "as in 'random_crop(4), horizontal_flip, mixup'; a list of them in YAML",
    )
    balanced: bool = setting(
        DATA.but(resume="allowed", head=False, estimator=True), False, "draw every class equally often"
    )
    cache: Literal["off", "ram", "disk"] = setting(
        DATA.but(resume="freely"), "disk", "where decoded images are kept"
    )
    cache_limit: int | None = setting(
        DATA.but(resume="freely", needs={"cache": ("ram", "disk")}),
        None,
        "room of the cache: 500MB, 20GB; default: 20 GiB of disk, half of the memory",
        ge=0,
    )
    workers: int = setting(
        DATA.but(resume="freely", short="-j"), 2, "threads that read and decode images", ge=0, le=256
    )
    offline: bool = setting(
        DATA.but(resume="freely"), False, "download nothing; say which file belongs where"
    )
    model: str = setting(
        NETWORK.but(estimator=False),
        ...,
        "zoo name, name(argument=value), diagram or file of one, or package.module:factory",
    )
    init: str | None = setting(
        NETWORK, None, "start weights by name, he_normal or zeros; default: those of the network"
    )
    whiten: bool = setting(NETWORK, False, "start the first convolution as a fixed whitening of patches")
    drop_path: float | None = setting(
        NETWORK.but(resume="allowed", head=False),
        None,
        "stochastic depth of the last branch; earlier ones less, in proportion",
        ge=0,
        lt=1,
    )
    aux_weight: float = setting(
        NETWORK.but(resume="allowed", head=False),
        0.3,
        "weight of auxiliary heads in the loss, where a network has them",
        ge=0,
    )
    weights: str | None = setting(
        TRANSFER.but(needs={}),
        None,
        "file of weights (torchvision, timm, Keras, striate), run, or published tag to start from",
    )
    pretrained: bool = setting(
        TRANSFER.but(needs={"weights": (None,)}),
        False,
        "start from the network's published weights, downloaded once",
    )
    compare_scratch: bool = setting(
        TRANSFER.but(resume="allowed"), False, "train the same network without the weights as well"
    )
    freeze: Literal["none", "features"] = setting(
        TRANSFER, "none", "train a new head alone, on features computed once an image"
    )
    unfreeze: int = setting(
        TRANSFER, 0, "after the head, train the last so many stages with it", ge=0, le=1000
    )
    head: Literal["linear", "mlp", "logistic", "knn"] = setting(
        TRANSFER.but(needs={"head_first": YES}), "linear", "kind of the new head"
    )
    head_epochs: int = setting(
        TRANSFER.but(needs={"trains_head": YES}), 30, "passes of the head over the features", ge=1, le=10_000
    )
    gradual: bool = setting(
        TUNING.but(needs={"unfreezes_more": YES}),
        False,
        "unfreeze one stage after the other, the last first",
    )
    layer_decay: float = setting(
        TUNING,
        0.5,
        "with weights: learning rate of a stage in units of the next one's",
        gt=0,
        le=1,
    )
    freeze_norms: bool = setting(
        TUNING,
        True,
        "with weights: batch norms keep their statistics, in what is trained too",
    )
    l2_sp: float = setting(
        TUNING,
        0.0,
        "pull towards the weights that training started from",
        ge=0,
    )
    epochs: int = setting(
        OPTIMISATION.but(resume="longer", estimator=False),
        10,
        "passes over the training split",
        ge=1,
        le=1_000_000,
    )
    batch_size: int = setting(
        STEPS.but(estimator=False, short="-b"),
        64,
        "images a step",
        ge=1,
    )
    lr: float | None = setting(
        OPTIMISATION.but(estimator=False), None, "peak learning rate; default by optimiser", gt=0, le=1e3
    )
    opt: Optimiser = setting(OPTIMISATION.but(estimator=False), "adamw", "optimiser")
    momentum: float | None = setting(
        OPTIMISATION.but(needs={"opt": MOMENTUM}),
        None,
        "momentum of sgd, momentum, nesterov and muon; default: 0.9, none for sgd",
        ge=0,
        lt=1,
    )
    sched: Schedule | Rules = setting(
        OPTIMISATION,
        "one-cycle",
        "how the learning rate moves; or 10:0.1,20:0.01: shares of lr from epochs 10 and 20 on",
    )
    warmup: float = setting(
        OPTIMISATION.but(head=True, needs={"warms_up": YES}),
        0.2,
        "share of the run in which one-cycle and cosine climb to the peak",
        ge=0,
        lt=1,
    )
    plateau: int = setting(
        PLATEAU,
        5,
        "epochs without improvement after which plateau lowers lr",
        ge=1,
    )
    plateau_factor: float = setting(
        PLATEAU,
        0.1,
        "what plateau leaves of lr",
        gt=0,
        lt=1,
    )
    cooldown: int = setting(
        PLATEAU,
        0,
        "epochs after such a step that plateau doesn't count",
        ge=0,
    )
    min_lr: float = setting(
        OPTIMISATION.but(needs={"sched": ("plateau", "cosine", "one-cycle")}),
        0.0,
        "where cosine and one-cycle end (one-cycle by default at 1 % of lr); plateau goes no lower",
        ge=0,
    )
    weight_decay: float | None = setting(
        STEPS.but(estimator=False),
        None,
        "decay of weights, not of norms and biases; default by optimiser",
        ge=0,
    )
    decay_all: bool = setting(OPTIMISATION.but(needs={"decays": YES}), False, "decay norms and biases too")
    bias_lr: float = setting(OPTIMISATION, 1.0, "learning rate of norms and biases, in units of lr", gt=0)
    clip: float | None = setting(OPTIMISATION, None, "largest norm of the whole gradient", gt=0)
    accumulate: int = setting(OPTIMISATION, 1, "batches whose gradients make one step", ge=1)
    lookahead: int = setting(OPTIMISATION, 0, "steps after which weights go half-way back; 0 never", ge=0)
    average: Literal["none", "ema", "swa"] = setting(
        OPTIMISATION, "none", "judge and keep a moving average (ema), or the mean over the last quarter (swa)"
    )
    ema_decay: float = setting(
        OPTIMISATION.but(needs={"average": ("ema",)}),
        0.999,
        "what a step leaves of the moving average",
        ge=0,
        lt=1,
    )
    loss: Loss | None = setting(
        STEPS.but(search="not by loss"),
        None,
        "default: cross-entropy, binary where images have several labels",
    )
    focal_gamma: float = setting(
        OPTIMISATION.but(head=True, search="not by loss", needs={"loss": ("focal",)}),
        2.0,
        "how little the focal loss heeds easy images",
        ge=0,
        le=10,
    )
    smoothing: float = setting(STEPS.but(search="not by loss"), 0.0, "label smoothing", ge=0, lt=1)
    class_weights: bool = setting(
        STEPS,
        False,
        "let rare classes count more in the training loss",
    )
    grow: float | None = setting(
        OPTIMISATION,
        None,
        "side of the first training images in units of the full one; then they grow",
        gt=0,
        lt=1,
    )
    patience: int | None = setting(
        OPTIMISATION.but(estimator=False), None, "stop after so many epochs without improvement", ge=1
    )
    min_delta: float = setting(
        OPTIMISATION.but(estimator=False, needs={"watches": YES}),
        0.0,
        "less than this is no improvement",
        ge=0,
    )
    patience_from: int = setting(
        PATIENCE,
        1,
        "epoch in which patience begins to count",
        ge=1,
    )
    baseline: float | None = setting(
        PATIENCE,
        None,
        "value that patience wants to see beaten, not approached",
    )
    monitor: Monitor | TopK = setting(
        STEPS.but(search="no", estimator=False),
        "accuracy",
        "what best, patience and plateau watch on the validation split; top-5: of the 5 most probable classes, one is "
        "right",
    )
    stop_after: float | None = setting(
        OPTIMISATION.but(resume="longer"),
        None,
        "training time after which the run ends: 90, 30m, 1h30m",
        gt=0,
    )
    seed: int = setting(
        RUN.but(resume="allowed", head=True, search="no"),
        0,
        "decides splits, weights, order and augmentation",
        ge=0,
        lt=2**32,
    )
    device: str = setting(
        RUN.but(resume="allowed", head=True, elsewhere=True),
        "auto",
        "where to compute: auto, cpu, mps, cuda or cuda:N",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        RUN.but(resume="allowed", head=True, estimator=True), "auto", "arithmetic of the layers"
    )
    deterministic: bool = setting(
        RUN.but(resume="allowed", head=True),
        False,
        "refuse arithmetic whose last bits change from run to run",
    )
    keep: int = setting(RUN, 0, "model files of so many best epochs to keep in epochs/ beside the best", ge=0)
    save_every: int | None = setting(
        RUN, None, "batches between two saves; default: as often as costs at most 2 % of the time", ge=1
    )
    health: bool = setting(
        RUN.but(head=True), True, "record gradients, weights and dead units of each layer each epoch"
    )
    track: Literal["none", "tensorboard", "wandb"] = setting(RUN, "none", "who else hears the metrics")

    @field_validator("data", "model", "weights", "classes", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @field_validator("augment", mode="before")
    @classmethod
    def _transforms(cls, value: Any) -> str:
        """Text stays as it was typed; a YAML list becomes text."""
        from striate.data.augment import spell, transforms_of

        transforms = transforms_of(value if isinstance(value, str) else typed(value))
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

    @field_validator("in_chans", mode="before")
    @classmethod
    def _channels(cls, value: Any) -> Any:
        return typed(value)

    @field_validator("monitor", mode="before")
    @classmethod
    def _watched(cls, value: Any) -> Any:
        known = get_args(Monitor)
        if value in known or re.fullmatch(TOP_K, str(value)):
            return value
        raise UsageError(
            f"expected {', '.join(known)} or top-K, got {shown(value)}",
            nearest(str(value), (*known, "top-5")),
        )

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
        if isinstance(value, str) and (
            m := re.fullmatch(r"(\d{1,15}(?:\.\d*)?)\s*([kmgt])(i?)b?", value.lower())
        ):
            return int(float(m[1]) * (1024 if m[3] else 1000) ** ("kmgt".index(m[2]) + 1))
        return value

    @field_validator("stop_after", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        """30m is 1800 seconds, 1h30m is 5400."""
        if not isinstance(value, str) or not re.fullmatch(SPAN, value.strip().lower()):
            return value
        parts = re.findall(rf"({NUMBER})\s*([smh])", value.lower())
        return sum(float(number) * {"s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)

    @field_validator("split", mode="before")
    @classmethod
    def _percent(cls, value: Any) -> Any:
        """70/15/15 and 0.7,0.15,0.15 mean the same; 90/10 leaves the test split empty."""
        if isinstance(value, str):
            value = value.replace("/", ",").split(",")
        try:
            shares = [float(v) for v in value]
        except (TypeError, ValueError, OverflowError):
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
        if self.unfreeze and self.head == "knn":
            raise ValueError("unfreeze: nearest neighbours have nothing to train; head linear or mlp")
        return self

    @model_validator(mode="after")
    def _heeded(self, info: ValidationInfo) -> "Recipe":
        """What was set has a say; what is off needs none. `asked` in the context names what somebody set now."""
        asked = (info.context or {}).get("asked", self.model_fields_set)
        for name, nature in natures(Recipe):
            value, default = getattr(self, name), Recipe.model_fields[name].default
            off = value is None or (value == default and value in (0, "none"))
            if name in asked and not off and (lack := no_say(self, nature)):
                more = f", or add {lack[1]}" if lack[1] else ""
                raise UsageError(f"{flag(name)} has no say: {lack[0]}", f"leave it out{more}")
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

    @property
    def trains_network(self) -> bool:
        """Whether more than a head is trained, here or in the comparison from scratch."""
        return not self.head_only or self.compare_scratch

    @property
    def trains_head(self) -> bool:
        """Whether a head is trained in steps on frozen features."""
        return self.head_first and self.head in ("linear", "mlp")

    @property
    def fits_by_steps(self) -> bool:
        """Whether anything is trained in steps."""
        return self.trains_network or self.trains_head

    @property
    def unfreezes_more(self) -> bool:
        """Whether several stages are trained after the head."""
        return self.unfreeze > 1

    @property
    def warms_up(self) -> bool:
        """Whether the learning rate climbs before it falls; that of a head does."""
        return self.trains_head or (self.trains_network and self.sched in ("one-cycle", "cosine"))

    @property
    def decays(self) -> bool:
        """Whether weights decay."""
        return (defaults(self.opt).weight_decay if self.weight_decay is None else self.weight_decay) > 0

    @property
    def is_patient(self) -> bool:
        """Whether the run stops where it no longer improves."""
        return self.patience is not None

    @property
    def watches(self) -> bool:
        """Whether an improvement is waited for, to stop or to lower the rate."""
        return self.is_patient or self.sched == "plateau"

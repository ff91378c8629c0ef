"""The model file (network, weights, class names and preprocessing in one .safetensors) and the state of a run.

No pickle is written or read.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import striate
from striate import plan
from striate.data import Preprocess
from striate.errors import DataError, UsageError
from striate.files import write_text, write_whole
from striate.train.engine import Engine

FORMAT = 1


@dataclass
class Model:
    """A trained network with all that it takes to use it."""

    module: nn.Module
    origin: dict[str, Any]
    input_shape: tuple[int, int, int]
    outputs: int
    classes: tuple[str, ...]
    preprocess: Preprocess
    metrics: dict[str, float] = field(default_factory=dict)

    def save(self, path: Path) -> Path:
        """Write the model file, whole or not at all."""
        facts = {
            "origin": self.origin,
            "input_shape": self.input_shape,
            "outputs": self.outputs,
            "classes": self.classes,
            "preprocess": self.preprocess.to_dict(),
            "metrics": self.metrics,
        }
        metadata = {"format": f"striate {FORMAT}", "striate": striate.__version__, "model": json.dumps(facts)}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in self.module.state_dict().items()}
        return write_whole(path, lambda p: save_file(tensors, p, metadata))

    def engine(self, device: str = "auto", precision: str = "auto") -> Engine:
        """The fast path of this network, fed with its own preprocessing."""
        return Engine(self.module, self.preprocess.mean, self.preprocess.std, device, precision)

    def probabilities(self, images: Tensor, device: str = "auto", precision: str = "auto") -> Tensor:
        """Class probabilities of uint8 images.    (n, c, h, w) -> (n, k)"""
        engine = self.engine(device, precision)
        with engine.inference():
            return torch.cat([to_probabilities(engine(part)).cpu() for part in images.split(256)])

    def predict(self, files: Iterable[str | Path], top: int = 5) -> list[dict[str, Any]]:
        """Label, probability and the `top` classes of each image file; a file that is no image raises DataError."""
        answers = []
        for names in batched((str(f) for f in files), 64):
            images = torch.stack([self.preprocess.read(name) for name in names])
            for name, row in zip(names, self.probabilities(images), strict=True):
                best = [(self.classes[i], float(row[i])) for i in row.argsort(descending=True)[:top].tolist()]
                answers.append(
                    {"file": name, "label": best[0][0], "probability": best[0][1], "top": dict(best)}
                )
        return answers


def to_probabilities(logits: Tensor) -> Tensor:
    """Softmax of k logits; one logit is the log-odds of the second of two classes."""
    if logits.shape[1] == 1:
        p = logits.sigmoid()
        return torch.cat((1 - p, p), dim=1)
    return logits.softmax(dim=1)


def batched(items: Iterable[str], n: int) -> Iterator[tuple[str, ...]]:
    """Tuples of up to n items in order."""
    left = iter(items)
    while batch := tuple(islice(left, n)):
        yield batch


def load(path: Path | str, factory: str | None = None) -> Model:
    """The model in the file `path`.

    `factory` names the code that builds the network where that isn't in the file; raises DataError for a damaged
    file or another format, UsageError for a missing one.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no model file at {path}")
    metadata, tensors = _read(path)
    facts = json.loads(metadata["model"])
    meaning = plan.plan(factory) if factory else plan.from_origin(facts["origin"])
    module = meaning.build(tuple(facts["input_shape"]), facts["outputs"]).module
    load_weights(module, tensors, str(path))
    return Model(
        module,
        facts["origin"],
        tuple(facts["input_shape"]),
        facts["outputs"],
        tuple(facts["classes"]),
        Preprocess.from_dict(facts["preprocess"]),
        facts["metrics"],
    )


def load_weights(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Fill `module`; raises DataError that lists what is missing, unknown or of another shape."""
    wanted = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    found = {k: tuple(v.shape) for k, v in tensors.items()}
    faults = [f"missing {k} {wanted[k]}" for k in wanted.keys() - found.keys()]
    faults += [f"unknown {k} {found[k]}" for k in found.keys() - wanted.keys()]
    faults += [f"{k} is {found[k]}, expected {s}" for k, s in wanted.items() if found.get(k, s) != s]
    if faults:
        more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise DataError(f"{where}: weights of another network: {'; '.join(sorted(faults)[:8])}{more}")
    module.load_state_dict(tensors)


def weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a model file."""
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as f:
            metadata = f.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged or no model file: {error}") from None
    kind = metadata.get("format", "")
    if not kind.startswith("striate "):
        raise DataError(f"{path} holds weights but was not written by striate")
    if kind != f"striate {FORMAT}":
        raise DataError(
            f"{path} has format {kind!r}; this version reads 'striate {FORMAT}'", "update striate"
        )
    return metadata, tensors


def save_state(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the state of a run: tensors, then the JSON that names them, so that a JSON never lacks its tensors."""
    folder.mkdir(exist_ok=True)
    name = f"state-{facts['epoch']}-{facts['step']}.safetensors"
    write_whole(folder / name, lambda p: save_file({k: v.contiguous() for k, v in tensors.items()}, p))
    write_text(folder / "state.json", json.dumps({**facts, "tensors": name}))
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_state` wrote; raises DataError when it is damaged, UsageError when there is none."""
    if not (folder / "state.json").is_file():
        raise UsageError(f"nothing to resume in {folder.parent}")
    try:
        facts = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return load_file(folder / facts["tensors"]), facts
    except (ValueError, KeyError, OSError, SafetensorError) as error:
        raise DataError(f"{folder} is damaged: {error}") from None


def pack_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The state of an optimiser as named tensors and plain settings."""
    state = optimiser.state_dict()
    tensors = {
        f"optimiser.{i}.{k}": v for i, s in state["state"].items() for k, v in s.items() if v is not None
    }
    return {k: v.detach().cpu().clone() for k, v in tensors.items()}, state["param_groups"]


def unpack_optimiser(
    optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: Sequence[dict[str, Any]]
) -> None:
    """The inverse of `pack_optimiser`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": list(groups)})

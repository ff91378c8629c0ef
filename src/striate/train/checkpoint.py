"""The model file (network, weights, class names and preprocessing in one .safetensors) and the state of a run.

No pickle is written or read.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save
from torch import Tensor, nn

import striate
from striate import plan
from striate.chance import Stream
from striate.data import Preprocess
from striate.data.facts import Facts
from striate.errors import DataError, StriateError, UsageError, one_line
from striate.files import MODEL, check_format, parse, write_whole
from striate.train.engine import Engine
from striate.train.losses import to_probabilities
from striate.transfer.torch_files import unwrapping

T = TypeVar("T")
STATE = "striate-state 1"  # the format of a saved state, as its metadata states it


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
    several: bool = False  # labels an image

    def save(self, path: Path | str) -> Path:
        """Write the model file, whole or not at all; raises UsageError where it couldn't be read again."""
        facts = {
            "origin": self.origin,
            "input_shape": self.input_shape,
            "outputs": self.outputs,
            "classes": self.classes,
            "preprocess": self.preprocess.to_dict(),
            "metrics": self.metrics,
            "several": self.several,
        }
        said = json.dumps(facts)
        try:
            parse(Facts, said, "the model")
        except DataError as error:
            raise UsageError(str(error), "mend it before it is saved") from None
        metadata = {"format": MODEL, "striate": striate.__version__, "model": said}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in self.module.state_dict().items()}
        return _write(Path(path), save(tensors, metadata))

    def engine(self, device: str = "auto", precision: str = "auto") -> Engine:
        """The fast path of this network, fed with its own preprocessing."""
        return Engine(self.module, self.preprocess.mean, self.preprocess.std, device, precision)

    def probabilities(self, images: Tensor, device: str = "auto", precision: str = "auto") -> Tensor:
        """Class probabilities of uint8 images.    (n, c, h, w) -> (n, k)"""
        engine = self.engine(device, precision)
        with engine.inference():
            return torch.cat(
                [to_probabilities(engine(part), self.several).cpu() for part in images.split(256)]
            )

    def predict(self, files: str | Path | Iterable[str | Path], top: int = 5) -> list[dict[str, Any]]:
        """Label, probability and the `top` classes of an image file, or of each; no image raises DataError.

        Where an image has several labels, `labels` holds those with a probability of at least one half, `label`
        joins them with `|`, and `probability` is that of the least sure.
        """
        answers = []
        files = [files] if isinstance(files, (str, Path)) else files
        for names in batched((str(f) for f in files), 64):
            images = torch.stack([self.preprocess.read(name) for name in names])
            for name, row in zip(names, self.probabilities(images), strict=True):
                best = [(self.classes[i], float(row[i])) for i in row.argsort(descending=True)[:top].tolist()]
                answer = {"file": name, "label": best[0][0], "probability": best[0][1], "top": dict(best)}
                answers.append(answer | (self._labels(row) if self.several else {}))
        return answers

    def _labels(self, row: Tensor) -> dict[str, Any]:
        said = {name: float(p) for name, p in zip(self.classes, row, strict=True) if p >= 0.5}
        least = min(said.values()) if said else 1 - float(row.max())
        return {"labels": list(said), "label": "|".join(said), "probability": least}


def batched(items: Iterable[T], n: int) -> Iterator[tuple[T, ...]]:
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
    try:
        return _model(_facts(metadata, path), tensors, factory, path)
    except StriateError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        if factory:
            raise
        raise DataError(
            f"{path} is damaged: what it says of its network is wrong ({one_line(error)})"
        ) from None


def _facts(metadata: dict[str, str], path: Path) -> Facts:
    where = f"{path} is damaged: what it says of its network is wrong"
    return parse(Facts, metadata.get("model", ""), where, "train again, or take an earlier file")


def _model(facts: Facts, tensors: dict[str, Tensor], factory: str | None, path: Path) -> Model:
    shape, outputs = facts.input_shape, facts.outputs
    if factory:
        with Stream(0).drawing():  # what is drawn now is overwritten
            module = plan.plan(factory).build(shape, outputs).module
    else:
        with torch.device("meta"):  # nothing as large as a file may claim is made, and no weights are drawn
            module = plan.from_origin(dict(facts.origin)).build(shape, outputs).module
        _same_shapes(module, tensors, str(path))
        module.to_empty(device="cpu")
    load_weights(module, tensors, str(path))
    return Model(
        module,
        dict(facts.origin),
        shape,
        outputs,
        facts.classes,
        facts.preprocess,
        facts.metrics,
        facts.several,
    )


def load_weights(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Fill `module`; raises DataError that lists what is missing, unknown, of another shape, or no number."""
    tensors = _same_shapes(module, tensors, where)
    bad = {k: int((~v.isfinite()).sum()) for k, v in tensors.items()}
    if first := next((k for k, n in bad.items() if n), None):
        total = sum(v.numel() for v in tensors.values())
        raise DataError(
            f"{where}: {sum(bad.values()):,} of {total:,} values are NaN or infinite, the first under {first!r}",
            "train again, or take an earlier file",
        )
    module.load_state_dict(tensors)


def _same_shapes(module: nn.Module, tensors: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors under the module's own names, which may begin as those of a wrapped module do."""
    wanted = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    tensors = max(unwrapping(tensors), key=lambda named: len(named.keys() & wanted.keys()))
    found = {k: tuple(v.shape) for k, v in tensors.items()}
    faults = [f"missing {k} {wanted[k]}" for k in wanted.keys() - found.keys()]
    faults += [f"unknown {k} {found[k]}" for k in found.keys() - wanted.keys()]
    faults += [f"{k} is {found[k]}, expected {s}" for k, s in wanted.items() if found.get(k, s) != s]
    if faults:
        more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise DataError(f"{where}: weights of another network: {'; '.join(sorted(faults)[:8])}{more}")
    return tensors


def weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a model file."""
    return _read(path)[1]


def stored_metrics(path: Path) -> dict[str, float]:
    """What a model file says of its epoch."""
    return _facts(_read(path)[0], path).metrics


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
    check_format(path, kind)
    return metadata, tensors


def save_state(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Path:
    """Write the state of a run and keep the one before it: NUMBER-CRC32.safetensors, the facts in its metadata."""
    folder.mkdir(exist_ok=True)
    before = states(folder)
    data = save(tensors, {"format": STATE, "facts": json.dumps(facts)})
    number = int(before[-1].name[:6]) + 1 if before else 1
    for old in before[:-2]:  # left by a process that died between its last two lines
        old.unlink()
    path = _write(folder / f"{number:06d}-{crc32(data):08x}.safetensors", data)
    for old in before[-2:-1]:
        old.unlink()
    return path


def states(folder: Path) -> list[Path]:
    """The states in `folder`, the oldest first."""
    found = folder.glob("*.safetensors")
    return sorted(p for p in found if re.fullmatch(r"\d{6}-[0-9a-f]{8}", p.stem) and p.is_file())


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The newest that `save_state` wrote; raises UsageError when there is none, DataError when it is damaged."""
    found = states(folder)
    if not found:
        raise UsageError(f"nothing to resume in {folder.parent}", "start a new run")
    path = found[-1]
    older = f"remove it to go on from {found[-2].name}, the state before it" if len(found) > 1 else ""
    data = path.read_bytes()
    if f"{crc32(data):08x}" != path.stem[7:]:
        raise DataError(f"{path} is damaged: its content is not what was written", older)
    try:
        with safe_open(path, "pt") as f:
            metadata = f.metadata() or {}
        tensors = load_bytes(data)
    except SafetensorError as error:
        raise DataError(f"{path} is damaged: {one_line(error)}", older) from None
    check_format(path, metadata.get("format", ""), STATE)
    return tensors, parse(dict[str, Any], metadata.get("facts", ""), f"{path} is damaged", older)


def _write(path: Path, data: bytes) -> Path:
    """Whole or not at all; raises StriateError that says how much room there is."""
    try:
        return write_whole(path, lambda p: p.write_bytes(data))
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise StriateError(
            f"can't write {path}: {error.strerror}; {len(data):,} bytes wanted, {free:,} free",
            "what was there before is untouched",
        ) from error


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
    """The inverse of `pack_optimiser`; settings other than the learning rate stay those of `optimiser`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    mine = optimiser.state_dict()["param_groups"]
    kept = [{**m, "lr": theirs["lr"]} for m, theirs in zip(mine, groups, strict=True)]
    optimiser.load_state_dict({"state": state, "param_groups": kept})

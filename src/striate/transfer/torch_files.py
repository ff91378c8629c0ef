"""Reading state dicts: `.safetensors`, and `.pth` or `.pt` as data alone. No code of a file is ever run."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from striate.errors import DataError, one_line
from striate.transfer.wrappers import inner

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt")
PREFIXES = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before every name
FLOOR, RATIO = 1 << 16, 100  # bytes, and unpacked over packed: torch packs nothing


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A state dict and the file's own notes; DataError for what is damaged or isn't tensors alone.

    Where a checkpoint holds several state dicts, the note `taken` says which this is.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    content, taken = inner(_unpickled(path), path)
    return unwrapped(content, path), {"taken": taken} if taken else {}


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata."""
    try:
        with safe_open(path, "pt") as f:
            return {key: f.get_tensor(key) for key in f.keys()}, f.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError) as error:
        raise DataError(f"{path} is damaged or no safetensors file: {one_line(error)}") from None


def unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    """A state dict, without the prefixes that wrappers put before all its names."""
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path} holds a {type(content).__name__}, expected a state dict: names and tensors")
    strange = [k for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if strange:
        what = type(content[strange[0]]).__name__
        raise DataError(
            f"{path} holds a {what} under {strange[0]!r}, expected a state dict: names and tensors"
        )
    if hollow := [key for key, value in content.items() if not _whole(value)]:
        raise DataError(f"{path}: {hollow[0]!r} is sparse, quantised or larger than what is stored: refused")
    return without_prefixes(content)


def without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that they had before the module was wrapped."""
    *_, bare = unwrapping(state)
    return bare


def unwrapping(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors as they are, then with one wrapper's prefix less each time, while all names share one."""
    yield dict(state)
    while prefix := next((p for p in PREFIXES if state and all(key.startswith(p) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        yield dict(state)


def _whole(value: Tensor) -> bool:
    """Every element lies in the file: one that is shown a million times would fill the memory later."""
    special = value.is_meta or value.is_quantized or value.is_nested or value.layout is not torch.strided
    return not special and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _unpickled(path: Path) -> Any:
    try:
        _refuse_bombs(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the file was written
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        culprit = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"the Python object {culprit[1]}" if culprit else "more than tensors"
        raise DataError(
            f"{path} holds {what}, which only running its code could load: refused",
            "there is no unsafe fallback; save the state dict alone, or as .safetensors",
        ) from None
    except DataError:
        raise
    except Exception as error:  # bytes that nobody wrote make torch and zipfile raise anything
        raise DataError(f"{path} is damaged or no file of weights: {one_line(error)}") from None


def _refuse_bombs(path: Path) -> None:
    """torch stores tensors as they are, so a member that unpacks to much more was made to fill the memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            refuse_bombs(archive, path)


def refuse_bombs(archive: zipfile.ZipFile, path: Path) -> None:
    """DataError where a member unpacks to far more than is stored of it."""
    for info in archive.infolist():
        if info.file_size > FLOOR and info.file_size > RATIO * info.compress_size:
            raise DataError(
                f"{path}: {info.filename!r} unpacks from {info.compress_size:,} to {info.file_size:,} bytes: refused"
            )

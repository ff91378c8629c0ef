"""State dicts in torch's own layout under a peer's names: what torchvision and timm have in common."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from striate.errors import DataError
from striate.transfer.names import check, layers

COUNTER = "num_batches_tracked"  # absent from old files, and nothing that is computed depends on it
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
INTEGERS = (torch.int64, torch.int32)


def keys(module: nn.Module, names: Mapping[str, str]) -> dict[str, str]:
    """The peer's key for each of ours."""
    pairs = {}
    for key in module.state_dict():
        layer, _, leaf = key.rpartition(".")
        pairs[key] = f"{names[layer]}.{leaf}"
    return pairs


def layers_of(state: Mapping[str, Tensor]) -> set[str]:
    """The names of the layers that a state dict speaks of."""
    return {key.rpartition(".")[0] for key in state}


def load_state(
    module: nn.Module,
    names: Mapping[str, str],
    state: Mapping[str, Tensor],
    peer: str,
    spare: tuple[str, ...] = (),
    blank: Collection[str] = (),
) -> None:
    """Copy the peer's tensors into `module`, all or none; keys that begin with `spare` may be left over.

    Those of our keys that are in `blank` may be missing and then become zeros. A dense layer may be a convolution
    there or the other way round, if both have as many weights.
    """
    pairs, ours = keys(module, names), module.state_dict()
    left = {key for key in state.keys() - set(pairs.values()) if not key.endswith(COUNTER)}
    there = {mine: state[key] for mine, key in pairs.items() if key in state}
    check(
        peer,
        missing=[
            key
            for mine, key in pairs.items()
            if mine not in there and not key.endswith(COUNTER) and mine not in blank
        ],
        unexpected=sorted(key for key in left if not key.startswith(spare)),
        shapes=[
            f"{pairs[mine]}: {tuple(value.shape)} instead of {tuple(ours[mine].shape)}"
            for mine, value in there.items()
            if not fits(value, ours[mine])
        ],
    )
    filled = {key: torch.zeros(ours[key].shape) for key in blank}
    sound = {mine: as_ours(value, ours[mine], pairs[mine], peer) for mine, value in there.items()}
    put(module, filled | {mine: value.reshape(ours[mine].shape) for mine, value in sound.items()})


def fits(value: Tensor, ours: Tensor) -> bool:
    """Equal shapes, or a convolution for a dense layer with the same outputs and as many weights."""
    if value.shape == ours.shape:
        return True
    return (
        {value.ndim, ours.ndim} == {2, 4}
        and value.shape[0] == ours.shape[0]
        and value.numel() == ours.numel()
    )


def as_ours(value: Tensor, ours: Tensor, name: str, peer: str) -> Tensor:
    """The peer's value in the precision of ours; DataError with its `name` there where it can't be computed with."""
    if value.dtype not in FLOATS and (ours.is_floating_point() or value.dtype not in INTEGERS):
        kind = str(value.dtype).removeprefix("torch.")
        raise DataError(f"these {peer} weights hold {kind} under {name!r}, expected floating-point numbers")
    value = value.to(ours.dtype)
    if not value.isfinite().all():
        raise DataError(
            f"these {peer} weights hold NaN or infinity under {name!r}: nothing can be computed with them"
        )
    return value


def put(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy into the module; what lies on the meta device becomes the values themselves."""
    blank = {key: torch.zeros((), dtype=torch.long) for key in module.state_dict() if key.endswith(COUNTER)}
    meta = any(p.is_meta for p in module.parameters())
    module.load_state_dict({**blank, **values}, assign=meta)


def load_own(module: nn.Module, state: Mapping[str, Tensor], blank: Collection[str] = ()) -> None:
    """Copy a state dict of ours into the same network."""
    load_state(module, {name: name for name in layers(module)}, state, "striate", blank=blank)

"""Networks side by side: what they cost, what they see, how long they take on this machine."""

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table
from torch import nn

from striate.anatomy.anatomy import Anatomy, anatomy
from striate.anatomy.render import human_bytes, human_pair
from striate.chance import Stream


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the comparison; latency is the median of a forward pass of one image."""

    name: str
    params: int
    disk_bytes: int
    macs: int
    macs_lower_bound: bool
    receptive_field: tuple[int, int] | None
    latency_ms: float | None  # None: the network has no values to compute with
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Entries in the order given; latencies were taken with so many threads."""

    entries: tuple[Entry, ...]
    threads: int

    def to_json(self) -> dict[str, Any]:
        return {"threads": self.threads, "networks": [asdict(entry) for entry in self.entries]}

    def table(self) -> Table:
        table = Table(box=None, pad_edge=False, caption=f"latency: median, batch 1, {self.threads} threads")
        table.add_column("network", style="bold")
        for name in ("params", "on disk", "MACs", "field", "latency", "accuracy"):
            table.add_column(name, justify="right")
        for e in self.entries:
            table.add_row(
                e.name,
                f"{e.params:,}",
                human_bytes(e.disk_bytes),
                f"{'>= ' if e.macs_lower_bound else ''}{e.macs:,}",
                human_pair(e.receptive_field),
                f"{e.latency_ms:.1f} ms" if e.latency_ms is not None else "",
                f"{e.accuracy:.2%}" if e.accuracy is not None else "",
            )
        return table


def compare(
    networks: dict[str, tuple[nn.Module, tuple[int, ...]]],
    accuracies: dict[str, float] | None = None,
    seconds: float = 1.0,
) -> Comparison:
    """Compare modules, each given with its input shape, under their names; accuracies are those of known runs."""
    entries = []
    for name, (module, input_shape) in networks.items():
        a = anatomy(module, input_shape, name=name)
        entries.append(_entry(a, latency(module, input_shape, seconds), (accuracies or {}).get(name)))
    return Comparison(tuple(entries), torch.get_num_threads())


def _entry(a: Anatomy, seconds: float | None, accuracy: float | None) -> Entry:
    milliseconds = None if seconds is None else 1000 * seconds
    return Entry(
        a.name, a.params, a.disk_bytes, a.macs, bool(a.unknown), a.receptive_field, milliseconds, accuracy
    )


def latency(
    module: nn.Module, input_shape: tuple[int, ...], seconds: float = 1.0, warm_up: int = 3
) -> float | None:
    """Median seconds of a forward pass of one image in eval mode, over at least five passes and `seconds`."""
    weight = next(module.parameters(), torch.empty(0))
    if weight.is_meta:
        return None
    with Stream(0, weight.device).drawing():
        x = torch.randn(1, *input_shape, device=weight.device, dtype=weight.dtype)
    training = {m: m.training for m in module.modules()}
    times: list[float] = []
    module.eval()
    try:
        with torch.inference_mode():
            for _ in range(warm_up):
                module(x)
            while len(times) < 5 or sum(times) < seconds:
                start = time.perf_counter()
                module(x)
                if x.is_cuda:
                    torch.cuda.synchronize(x.device)
                times.append(time.perf_counter() - start)
    finally:
        for m, mode in training.items():
            m.training = mode
    return statistics.median(times)

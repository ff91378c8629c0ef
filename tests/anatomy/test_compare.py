"""Networks side by side."""

import io

import torch
from rich.console import Console
from torch import nn

from striate.anatomy import compare, latency


def net(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(36 * width, 10)
    )


def test_entries_and_table() -> None:
    with torch.device("meta"):
        hollow = net(32)
    networks = {"narrow": (net(4), (1, 8, 8)), "wide": (net(32), (1, 8, 8)), "hollow": (hollow, (1, 8, 8))}
    c = compare(networks, {"narrow": 0.9876}, seconds=0.01)
    narrow, wide, empty = c.entries
    assert (narrow.params, wide.params) == (40 + 1450, 320 + 11530)
    assert (narrow.macs, narrow.receptive_field, narrow.disk_bytes) == (9 * 4 * 36 + 1440, (3, 3), 4 * 1490)
    assert narrow.latency_ms
    assert narrow.latency_ms > 0
    assert empty.latency_ms is None
    assert (narrow.accuracy, wide.accuracy) == (0.9876, None)
    assert c.to_json()["networks"][0]["name"] == "narrow"
    out = io.StringIO()
    Console(file=out, width=100).print(c.table())
    assert "98.76%" in out.getvalue()
    assert f"batch 1, {torch.get_num_threads()} threads" in out.getvalue()


def test_latency_is_the_median_of_eval_mode_and_leaves_the_mode_alone() -> None:
    modes: list[bool] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            modes.append(self.training)
            y: torch.Tensor = self.fc(x)
            return y

    spy = Spy().train()
    spy.fc.eval()
    assert latency(spy, (4,), seconds=0) > 0  # type: ignore[operator]
    assert modes == [False] * 8  # three to warm up, five measured
    assert spy.training
    assert not spy.fc.training

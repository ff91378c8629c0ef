"""Gradients, dead units and weights against what autograd and counting say; looking changes nothing."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from striate.data import load
from striate.train.engine import Engine
from striate.train.events import State
from striate.train.hooks.health import BINS, Health, examine


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 5),
        nn.ReLU(), nn.Linear(5, 2),
    )  # fmt: skip


def test_norms_are_those_of_the_gradient():
    module, x, y = net(), torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 0, 1, 1, 0])
    state, numbers = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    found = examine(module, x, y, F.cross_entropy)
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    assert torch.equal(numbers, torch.get_rng_state())
    assert module.training
    assert all(p.grad is None for p in module.parameters())

    loss = F.cross_entropy(module.eval()(x), y)
    loss.backward()
    assert found["loss"] == loss.item()
    assert [r["name"] for r in found["layers"]] == ["0", "1", "5", "7"]
    for row in found["layers"]:
        layer = module[int(row["name"])]
        expected = sum(p.grad.square().sum().item() for p in layer.parameters()) ** 0.5
        np.testing.assert_allclose(row["grad_norm"], expected, rtol=1e-5)
        weights = layer.weight.detach()
        counts, _ = np.histogram(weights.numpy(), BINS, (row["histogram"]["low"], row["histogram"]["high"]))
        assert row["histogram"]["counts"] == counts.tolist() or weights.unique().numel() == 1
        assert sum(row["histogram"]["counts"]) == weights.numel()


def test_dead_units_are_counted():
    module, x = net(), torch.rand(6, 1, 8, 8)
    with torch.no_grad():
        module[0].weight[1], module[0].bias[1] = -1, -1  # never above 0 for positive images
        module[5].weight[:3], module[5].bias[:3] = 0, -1
    rows = examine(module, x, torch.zeros(6, dtype=torch.long), F.cross_entropy)["activations"]
    assert [(r["name"], r["type"]) for r in rows] == [("2", "ReLU"), ("6", "ReLU")]
    out = module.eval()[:3](x)
    assert rows[0]["dead"] == (out.amax((0, 2, 3)) == 0).float().mean().item() >= 0.25
    assert rows[0]["zero"] == (out == 0).float().mean().item()
    np.testing.assert_allclose(
        (rows[0]["mean"], rows[0]["std"]), (out.mean().item(), out.std().item()), rtol=1e-3
    )
    assert rows[1]["dead"] >= 0.6


def test_frozen_and_unused_layers_have_no_gradient():
    module = net()
    module[0].requires_grad_(False)
    module.spare = nn.Identity()
    module.spare.weight = nn.Parameter(torch.ones(3))
    rows = {r["name"]: r["grad_norm"] for r in examine(module, torch.rand(2, 1, 8, 8), torch.tensor([0, 1]),
                                                     F.cross_entropy)["layers"]}  # fmt: skip
    assert rows["0"] is None
    assert rows["spare"] is None
    assert rows["5"] > 0


def test_a_line_an_epoch_and_none_twice(tmp_path):
    rng = np.random.default_rng(0)
    data = load((rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), rng.integers(0, 2, 40)), split=(1.0, 0, 0))
    engine = Engine(net(), (0.5,), (0.25,), "cpu", "fp32")
    for first, last in ((1, 3), (2, 4)):  # the second session does epochs 2 and 3 again
        hook, state = Health(tmp_path, engine, data.train, F.cross_entropy), State(5, 1, epoch=first)
        hook.on_start(state)
        for state.epoch in range(first, last + 1):
            hook.on_epoch(state)
    lines = (tmp_path / "health.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    assert json.loads(lines[0])["images"] == 16

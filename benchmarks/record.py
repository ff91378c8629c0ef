"""Accuracy over time on CIFAR-10: `recipes/cifar10_fast.yaml` beside the record recipe that it was drawn after.

    python benchmarks/record.py cifar10.zip [--epochs 2 4 8] [--only striate plain] [--seeds 1] [--json]
                                [--points FILE.json] [--picture FILE.svg]
    python benchmarks/record.py cifar10.zip --strips

A point of the curve is a whole training in so many epochs, learning rate and all; the test images are measured once at
its end, without test-time augmentation, and chose nothing. `plain` is airbench94 (Jordan, 2024, arXiv:2404.00498) as a
reader of the paper would write it in PyTorch: all images in memory, float32, channels last, nothing of striate. Seconds
are those of training, not of reading images. The two take turns; cost grows with images times epochs. `--points` is a
file that keeps every training on a machine, to go on with later; `--picture` draws them all, also with no `--epochs`.
`--strips` tells instead how many times as fast the recipe's steps are with narrow maps in strips as without.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import nn

RECIPE = Path(__file__).parents[1] / "recipes" / "cifar10_fast.yaml"

BATCH = 1024
KILOSTEP = BATCH * (1 + 1 / (1 - 0.85))  # the paper tells rate and decay for a thousand of these
LR, DECAY, MOMENTUM, BIAS = 11.5 / KILOSTEP, 0.0153 * BATCH / KILOSTEP, 0.85, 64


def images(path: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised images (n, 3, 32, 32) and labels of the archive's folder `part`."""
    with zipfile.ZipFile(path) as archive:
        names = [
            name for name in sorted(archive.namelist()) if name.startswith(part) and name.endswith(".jpg")
        ]
        pixels = np.stack([np.array(Image.open(io.BytesIO(archive.read(name)))) for name in names])
    classes = sorted({name.split("/")[1] for name in names})
    labels = torch.tensor([classes.index(name.split("/")[1]) for name in names])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    x = (x - mean[:, None, None]) / std[:, None, None]
    return x.contiguous(memory_format=torch.channels_last), labels


class Scale(nn.Module):
    """x / 9"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 9


def group(c_in: int, c_out: int) -> list[nn.Module]:
    """3x3 - pool - norm - GELU - 3x3 - norm - GELU; the norms' scales are fixed, the kernels begin as identity."""
    convs = [nn.Conv2d(c, c_out, 3, padding=1, bias=False) for c in (c_in, c_out)]
    norms = [nn.BatchNorm2d(c_out, eps=1e-12, momentum=0.4) for _ in range(2)]
    for conv, norm in zip(convs, norms, strict=True):
        nn.init.dirac_(conv.weight[: conv.in_channels].data)
        norm.weight.requires_grad_(False)
    return [convs[0], nn.MaxPool2d(2), norms[0], nn.GELU(), convs[1], norms[1], nn.GELU()]


def network(x: torch.Tensor) -> nn.Sequential:
    """The paper's network for 94 %, its first layer whitening the 2x2 patches of images `x`."""
    first = nn.Conv2d(3, 24, 2)
    patches = x.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernels = (vectors.T / (values + 5e-4).sqrt()[:, None]).reshape(12, 3, 2, 2)
    first.weight.data = torch.cat([kernels, -kernels])
    first.weight.requires_grad_(False)
    nn.init.zeros_(first.bias)
    groups = [*group(24, 64), *group(64, 256), *group(256, 256)]
    head = [nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10, bias=False), Scale()]
    return nn.Sequential(first, nn.GELU(), *groups, *head).to(memory_format=torch.channels_last)


def moved(x: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """A batch shifted by up to 2 px, mirrored at the border, and flipped where `flip` says so."""
    padded = F.pad(x, (2, 2, 2, 2), "reflect")
    rows, columns = torch.randint(5, (2, len(x), 1)) + torch.arange(32)
    shifted = padded.permute(0, 2, 3, 1)[
        torch.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return torch.where(flip[:, None, None, None], shifted.flip(2), shifted).permute(0, 3, 1, 2)


def rate(done: float) -> float:
    """Share of the highest learning rate: from 0.2 up to 1 at 23 % of the steps, then down to 0.07."""
    return 0.2 + 0.8 * done / 0.23 if done < 0.23 else 1 - 0.93 * (done - 0.23) / 0.77


def plain(data: tuple[torch.Tensor, ...], epochs: int, seed: int) -> dict[str, float]:
    """The record recipe: training seconds and test accuracy."""
    x, y, x_test, y_test = data
    torch.manual_seed(seed)
    net = network(x[torch.randperm(len(x))[:5000]])
    biases = [m.bias for m in net if isinstance(m, nn.BatchNorm2d)]
    others = [net[0].bias, *(p for p in net.parameters() if p.ndim > 1 and p.requires_grad)]
    groups = [
        {"params": biases, "lr": LR * BIAS, "weight_decay": DECAY / (LR * BIAS)},
        {"params": others, "lr": LR, "weight_decay": DECAY / LR},
    ]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True)
    total, step = len(x) // BATCH * epochs, 0
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step / total))
    slow = {name: v.clone() for name, v in net.state_dict().items() if v.is_floating_point()}
    first_flip = torch.rand(len(x)) < 0.5
    began = time.perf_counter()
    for epoch in range(epochs):
        net[0].bias.requires_grad_(epoch < 3)
        for batch in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            logits = net(moved(x[batch], first_flip[batch] ^ bool(epoch % 2)))
            loss = F.cross_entropy(logits, y[batch], label_smoothing=0.2, reduction="sum")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            if step % 5 == 0:
                look_ahead(net, slow, 0.95**5 * (step / total) ** 3)
        print(f"  plain, epoch {epoch + 1}/{epochs}, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    look_ahead(net, slow, 1.0)
    seconds = time.perf_counter() - began
    net.eval()
    with torch.inference_mode():
        right = sum(
            int((net(a).argmax(1) == b).sum())
            for a, b in zip(x_test.split(1000), y_test.split(1000), strict=True)
        )
    return {"train_seconds": seconds, "test_accuracy": right / len(x_test)}


@torch.no_grad()
def look_ahead(net: nn.Module, slow: dict[str, torch.Tensor], decay: float) -> None:
    """slow = decay slow + (1 - decay) fast, then fast = slow."""
    for name, fast in net.state_dict().items():
        if name in slow:
            fast.copy_(slow[name].lerp_(fast, 1 - decay))


def ours(path: Path, epochs: int, seed: int) -> dict[str, float]:
    """The recipe in so many epochs, as its header tells to run it."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", str(path), "-c", str(RECIPE), "--epochs", str(epochs), "--seed", str(seed)]
        call = [sys.executable, "-m", "striate", *words, "--output", f"{folder}/run", "--json"]
        done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {key: found[key] for key in ("train_seconds", "test_accuracy")}


def stepping(size: int) -> Callable[[], float]:
    """A function that takes three steps of the recipe's network and batch at `size` px and gives their seconds."""
    from striate.plan import plan
    from striate.train.engine import Engine, resized
    from striate.train.optim import optimiser

    words = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    batch = torch.randint(0, 256, (words["batch_size"], 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (len(batch),))
    net = plan(words["model"]).build().module
    engine, opt = Engine(net, (0.5,) * 3, (0.25,) * 3, "cpu"), optimiser(words["opt"], net, 1e-3)
    engine.train()

    def steps() -> float:
        began = time.perf_counter()
        for _ in range(3):
            logits = engine.run(resized(engine.prepare(batch), (size, size)))
            F.cross_entropy(logits, labels).backward()
            opt.step()
            opt.zero_grad()
        return time.perf_counter() - began

    return steps


def strips(size: int) -> float:
    """How many times as fast steps are with narrow maps in strips: the median of pairs."""
    narrow = stepping(size)
    with patch("striate.train.strips.tiles", lambda: False):
        plain = stepping(size)
    narrow(), plain()
    return statistics.median(plain() / narrow() for _ in range(9))


def main() -> None:
    """Train, print a line a point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", nargs="*", type=int, default=[2, 4, 8])
    parser.add_argument("--only", nargs="+", choices=["striate", "plain"], default=["striate", "plain"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--strips", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--points", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.strips:
        for size in (24, 28, 32):  # from the first epochs, which are smaller, to the last
            print(f"{size} px: {strips(size):.2f} x")
        return
    kept = json.loads(options.points.read_text()) if options.points and options.points.exists() else []
    if options.epochs and "plain" in options.only:
        data = (*images(options.data, "train/"), *images(options.data, "test/"))
    for epochs in options.epochs:
        for name in options.only:
            for seed in range(options.seeds):
                run = ours(options.data, epochs, seed) if name == "striate" else plain(data, epochs, seed)
                kept.append({"name": name, "epochs": epochs, "seed": seed, **run})
                print(f"  {kept[-1]}", file=sys.stderr, flush=True)
                if options.points:
                    options.points.write_text(json.dumps(kept, indent=1) + "\n")
    for point in (means := averaged(kept)):
        print(
            f"{point['name']:<8} {point['epochs']:>2} epochs  test {100 * point['test_accuracy']:.2f} %  "
            f"training {point['train_seconds']:.0f} s  seeds {point['seeds']}"
        )
    if options.picture:
        draw(means, options.picture)
    if options.json:
        print(json.dumps(means))


def averaged(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A point for each name and number of epochs: means over seeds."""
    points = []
    for name, epochs in sorted({(run["name"], run["epochs"]) for run in runs}):
        alike = [run for run in runs if (run["name"], run["epochs"]) == (name, epochs)]
        keys = ("train_seconds", "test_accuracy")
        mean = {key: statistics.mean(run[key] for run in alike) for key in keys}
        points.append({"name": name, "epochs": epochs, "seeds": len(alike), **mean})
    return points


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Test accuracy over training time, a curve each."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for name, label in (("striate", "cifar10_fast"), ("plain", "plain port of airbench94")):
        own = [point for point in points if point["name"] == name]
        x, y = (
            [scale * p[key] for p in own]
            for key, scale in (("train_seconds", 1 / 60), ("test_accuracy", 100))
        )
        axes.plot(x, y, "o-", label=label)
        for minutes, accuracy, point in zip(x, y, own, strict=True):
            axes.annotate(
                f" {point['epochs']}",
                (minutes, accuracy),
                textcoords="offset points",
                xytext=(4, -10),
                fontsize=8,
            )
    axes.set(xlabel="minutes of training (beside each point: its epochs)", ylabel="test accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path)


if __name__ == "__main__":
    main()

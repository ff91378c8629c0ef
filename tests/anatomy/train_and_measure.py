"""A program: train for three steps, print the peak of this process's memory in bytes, over what it had before.

    python train_and_measure.py NETWORK BATCH OPTIMISER PRECISION

NETWORK is mnist_cnn or a name of torchvision's or timm's; with "none" as OPTIMISER it only runs, without gradients.

Resident memory is what the system counts. It follows the tensors closely if the allocator gives every freed
tensor back at once, which glibc does for blocks over its mmap threshold, here set to 64 KiB.
"""

import functools
import gc
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
    os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"})

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, AdamW, Optimizer


def mnist_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 10),
    )  # fmt: skip


def peer(name: str) -> nn.Module:
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("_"))
    import timm
    import torchvision

    build = getattr(torchvision.models, name, None) or functools.partial(timm.create_model, name)
    net: nn.Module = build()
    return net


INPUT = {"mnist_cnn": (1, 28, 28), "resnet18": (3, 64, 64), "vgg11": (3, 64, 64), "mobilenet_v2": (3, 96, 96)}


def shape_of(name: str) -> tuple[int, ...]:
    return INPUT.get(name, (3, 224, 224))


def network(name: str) -> nn.Module:
    return mnist_cnn() if name == "mnist_cnn" else peer(name)


def optimiser(name: str, net: nn.Module) -> Optimizer:
    if name == "adamw":
        return AdamW(net.parameters(), fused=True)
    return SGD(net.parameters(), lr=0.01, momentum=0.9 if name == "momentum" else 0, weight_decay=1e-4)


def step(net: nn.Module, update: Optimizer, shape: tuple[int, ...], precision: str) -> None:
    x, y = torch.randn(shape), torch.zeros(shape[0], dtype=torch.long)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = F.cross_entropy(net(x), y)
    loss.backward()
    update.step()
    update.zero_grad()


@torch.no_grad()
def look(net: nn.Module, shape: tuple[int, ...], precision: str) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        net.eval()(torch.randn(shape))


def action(name: str, how: str) -> Callable[[tuple[int, ...], str], None]:
    net = network(name)
    if how == "none":
        return functools.partial(look, net)
    return functools.partial(step, net.train(), optimiser(how, net))


def resident(key: str) -> int:
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(key))
    return 1024 * int(line.split()[1])


def main(name: str, batch: str, how: str, precision: str) -> None:
    torch.set_num_threads(1)
    shape = shape_of(name)
    act = action(name, how)
    act((2, *shape), precision)  # code and tables that the libraries keep
    del act
    gc.collect()
    before = resident("VmRSS")
    act = action(name, how)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest value so far
    for _ in range(3):
        act((int(batch), *shape), precision)
    print(resident("VmHWM") - before)


if __name__ == "__main__":
    main(*sys.argv[1:])

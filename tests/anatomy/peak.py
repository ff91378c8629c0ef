"""Run as a program: train for a few steps and print the peak of this process's memory, in bytes, over its start.

python peak.py NETWORK BATCH OPTIMISER PRECISION
"""

import os
import sys
import types
from pathlib import Path

os.environ["MALLOC_MMAP_THRESHOLD_"] = (
    "65536"  # glibc then returns every freed tensor at once: resident = alive
)
if __name__ == "__main__" and os.environ.get("PEAK_CHILD") != "1":
    os.environ["PEAK_CHILD"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.argv])

sys.modules["torchvision._meta_registrations"] = types.ModuleType("_")
import torch
import torch.nn.functional as F
import torchvision
from torch import nn


def digits_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1600, 128),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(128, 10),
    )


NETWORKS = {
    "digits_cnn": (digits_cnn, (1, 28, 28)),
    "resnet18": (torchvision.models.resnet18, (3, 64, 64)),
    "resnet18_224": (torchvision.models.resnet18, (3, 224, 224)),
    "vgg11": (torchvision.models.vgg11, (3, 64, 64)),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, (3, 96, 96)),
    "alexnet": (torchvision.models.alexnet, (3, 224, 224)),
    "densenet121": (torchvision.models.densenet121, (3, 96, 96)),
}
OPT = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01),
    "momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-3),
}


def resident(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024


def step(net, opt, shape, batch, precision):
    x, y = torch.randn(batch, *shape), torch.zeros(batch, dtype=torch.long)
    if precision == "bf16":
        x = x.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = F.cross_entropy(net(x), y)
    loss.backward()
    opt.step()
    opt.zero_grad()


if __name__ == "__main__":
    name, batch, optimiser, precision = sys.argv[1:]
    build, shape = NETWORKS[name]
    torch.set_num_threads(1)
    w = digits_cnn()
    o = OPT[optimiser](w.parameters())
    for _ in range(2):
        step(w, o, (1, 28, 28), 2, precision)
    del w, o
    start = resident("VmRSS")
    net = build().train()
    if precision == "bf16":
        net = net.to(memory_format=torch.channels_last)
    opt = OPT[optimiser](net.parameters())
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(3):
        step(net, opt, shape, int(batch), precision)
    print(resident("VmHWM") - start)

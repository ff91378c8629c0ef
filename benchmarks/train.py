"""Images a second while training the small networks of the notes, striate beside its peers.

    python benchmarks/train.py [--nets mnist cifar] [--batches 64 256] [--only NAME...] [--rounds 3] [--json]
    python benchmarks/train.py --profile [--nets mnist cifar] [--batches 64]
    python benchmarks/train.py --dropout --nets cifar [--batches 64 128]

mnist: 220,234 parameters on 28x28 images; cifar: 528,054 on 32x32 in colour. Every contestant trains in a process of
its own on the same random images, with Adam, two threads, and is timed after a warm-up. The rounds are interleaved, so
that a machine that drifts slows everybody; the figure is the median over rounds, the ratio is taken round by round.
`striate` is the engine and loop that `striate train` runs, augmentation off; `torch` is a tutorial's loop, and what
`lightning` and `fastai` are given. What the loop costs is measured against its steps written out with nothing around
them, epoch by epoch in turn in one process. Peers that aren't installed are left out, and said to be.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from itertools import pairwise, product
from unittest.mock import patch

SECONDS = 4.0  # of steps, each time a contestant is timed
EPOCH = 32 * 256  # images of an epoch of those who count in epochs


@dataclass(frozen=True)
class Net:
    """A network of the notes: how it is written here, and what an image costs."""

    image: tuple[int, int, int]
    diagram: str
    params: int
    macs: int


NETS = {
    "mnist": Net(
        (28, 28, 1),
        "INPUT(28,28,1) => CONV(32,3) => RELU => POOL(2) => CONV(64,3) => RELU => POOL(2) => FC(64) => RELU => FC(10)",
        220_234,
        28 * 28 * 288 + 14 * 14 * 18_432 + 3136 * 64 + 640,
    ),
    "cifar": Net(
        (32, 32, 3),
        "INPUT(32,32,3) => CONV(16,2) => RELU => POOL(2) => CONV(32,2) => RELU => POOL(2) => CONV(64,2) => RELU => "
        "POOL(2) => DO(0.3) => FC(500) => RELU => DO(0.4) => FC(10)",
        528_054,
        32 * 32 * 192 + 16 * 16 * 2048 + 8 * 8 * 8192 + 1024 * 500 + 5000,
    ),
}


# torchvision, which Lightning and fastai import, is built for CUDA builds of torch; its operators aren't needed
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("_"))


def steps(step, batch):
    """Images a second of `step()`, after a warm-up."""
    for _ in range(5):
        step()
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for _ in range(10):
            step()
        done += 10 * batch
    return done / (time.perf_counter() - began)


def epochs(run, images):
    """The median rate, in images a second, of `run()`, which goes through all `images` once."""
    rates, began = [], time.perf_counter()
    while time.perf_counter() - began < SECONDS or len(rates) < 2:
        t = time.perf_counter()
        run()
        rates.append(images / (time.perf_counter() - t))
    return statistics.median(rates)


def pixels(net, n):
    """n random images with the channels last, n labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, *net.image), dtype=np.uint8), rng.integers(0, 10, n)


def tensors(net, n):
    """The same as a tutorial of PyTorch has them: float32 between 0 and 1, channels first."""
    import torch

    x, y = pixels(net, n)
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous().float() / 255, torch.from_numpy(y)


def striate(net, batch, precision="auto"):
    """Whole epochs of the loop, as `striate train` runs them; the first one not counted."""
    epoch = looped(net, batch, precision)
    epoch()
    rates, began = [], time.perf_counter()
    while time.perf_counter() - began < SECONDS or len(rates) < 3:
        rates.append(epoch())
    return statistics.median(rates)


def looped(net, batch, precision="auto"):
    """A function that runs an epoch of the loop and gives images a second."""
    import torch

    from striate.data import load
    from striate.plan import plan
    from striate.train import Recipe
    from striate.train.engine import Engine
    from striate.train.loop import Loop

    torch.manual_seed(0)
    data = load(pixels(net, EPOCH), split=(1.0, 0.0, 0.0))
    recipe = Recipe(
        data="arrays", model=net.diagram, batch_size=batch, epochs=10_000, augment="none", opt="adam"
    )
    module = plan(net.diagram).build(data.shape, 10).module
    loop = Loop(recipe, data, Engine(module, data.preprocess.mean, data.preprocess.std, "cpu", precision))

    def epoch():
        loop._epoch([], lambda loop: None, lambda: False)
        loop._next_epoch()
        return loop.state.metrics["images_per_second"]

    return epoch


def bare(net, batch):
    """The steps of an epoch without a loop around them: batch, standardise, forward, loss, backward, Adam."""
    import torch
    import torch.nn.functional as F

    from striate.plan import plan
    from striate.train.engine import Engine

    torch.manual_seed(0)
    x, y = pixels(net, EPOCH)
    h, w, c = net.image
    engine = Engine(plan(net.diagram).build((c, h, w), 10).module, (0.5,) * c, (0.25,) * c, "cpu")
    optimiser = torch.optim.Adam(engine.module.parameters(), fused=True)
    images, labels = torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y)
    engine.train()

    def epoch():
        began = time.perf_counter()
        for some in torch.randperm(EPOCH).split(batch):
            loss = F.cross_entropy(engine(images[some]), labels[some])
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        return EPOCH / (time.perf_counter() - began)

    return epoch


def overhead(net, batch):
    """The share of time that the loop adds to its bare steps: the median of pairs of epochs."""
    with_loop, without = looped(net, batch), bare(net, batch)
    with_loop(), without()
    return statistics.median(without() / with_loop() - 1 for _ in range(9))


def dropout(net, batch):
    """How many times as fast steps are with the engine's dropout as with torch's: the median of pairs of epochs."""
    import torch

    quick = bare(net, batch)
    with patch("striate.train.twin.Dropout", torch.nn.Dropout):
        plain = bare(net, batch)
    quick(), plain()
    return statistics.median(quick() / plain() for _ in range(9))


KINDS = {
    "convolution": ("conv",),
    "dense layers": ("mm",),
    "max pooling": ("max_pool",),
    "random numbers of dropout": ("bernoulli", "random_"),
    "zero-filling": ("fill_", "zero_"),
    "Adam": ("adam",),
    "clipping": ("relu", "clamp", "threshold"),
}


def profile(net, batch):
    """{kind of work: its share of the time} in an epoch of bare steps."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    epoch = bare(net, batch)
    epoch()
    with watch(activities=[ProfilerActivity.CPU]) as seen:
        epoch()
    spent = dict.fromkeys([*KINDS, "copies and the rest"], 0.0)
    for event in seen.key_averages():
        name = event.key.lower()
        kind = next((k for k, words in KINDS.items() if any(w in name for w in words)), "copies and the rest")
        spent[kind] += event.self_cpu_time_total
    return {kind: time / sum(spent.values()) for kind, time in spent.items()}


def torch_net(net):
    """The network in PyTorch's own layers."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    if net is NETS["mnist"]:
        return nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(3136, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(3, 16, 2, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 2, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 2, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.3), nn.Flatten(), nn.Linear(1024, 500), nn.ReLU(), nn.Dropout(0.4), nn.Linear(500, 10),
    )  # fmt: skip


def torch_eager(net, batch):
    """Plain PyTorch as a tutorial writes it, the data at hand."""
    import torch
    from torch import nn

    module, criterion = torch_net(net), nn.CrossEntropyLoss()
    assert sum(p.numel() for p in module.parameters()) == net.params
    optimiser = torch.optim.Adam(module.parameters())
    images, labels = tensors(net, batch)

    def step():
        optimiser.zero_grad()
        loss = criterion(module(images), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return steps(step, batch)


def lightning(net, batch):
    """Lightning's Trainer over a DataLoader, at its defaults but for logger, checkpoints and progress bar."""
    import logging
    import warnings

    import lightning as L
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader, TensorDataset

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Classifier(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.module = torch_net(net)

        def training_step(self, pair, _):
            return F.cross_entropy(self.module(pair[0]), pair[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    marks = []

    class Clock(L.Callback):
        def on_train_epoch_end(self, trainer, _):
            marks.append(time.perf_counter())
            trainer.should_stop = marks[-1] - marks[0] > SECONDS and len(marks) > 2

    loader = DataLoader(TensorDataset(*tensors(net, EPOCH)), batch, shuffle=True)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        max_epochs=1000,
        min_epochs=1,
        accelerator="cpu",
        callbacks=[Clock()],
        enable_model_summary=False,
        **silent,
    )
    trainer.fit(Classifier(), loader)
    return statistics.median(EPOCH / (b - a) for a, b in pairwise(marks))


def fastai(net, batch):
    """fastai's Learner over its DataLoaders, at its defaults but for the progress bar."""
    import torch
    from fastai.callback.progress import ProgressCallback
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from fastai.optimizer import Adam
    from torch.utils.data import TensorDataset

    loader = DataLoader(TensorDataset(*tensors(net, EPOCH)), bs=batch, shuffle=True)
    few = DataLoader(TensorDataset(*tensors(net, batch)), bs=batch)
    learner = Learner(DataLoaders(loader, few), torch_net(net), torch.nn.CrossEntropyLoss(), Adam, lr=1e-3)
    learner.remove_cb(ProgressCallback)
    learner.logger = lambda _: None
    learner.fit(1)
    return epochs(lambda: learner.fit(1), EPOCH)


def keras(net, batch, backend):
    """Keras' own `fit`, at its defaults; whole epochs, the first one not counted."""
    os.environ["KERAS_BACKEND"] = backend
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras as k

    k.utils.set_random_seed(0)
    maps, kernel = ((32, 64), 3) if net is NETS["mnist"] else ((16, 32, 64), 2)
    layers = [k.layers.Input(net.image)]
    for channels in maps:
        layers += [
            k.layers.Conv2D(channels, kernel, padding="same", activation="relu"),
            k.layers.MaxPooling2D(),
        ]
    if net is NETS["mnist"]:
        layers += [k.layers.Flatten(), k.layers.Dense(64, activation="relu")]
    else:
        layers += [k.layers.Dropout(0.3), k.layers.Flatten(), k.layers.Dense(500, activation="relu")]
        layers += [k.layers.Dropout(0.4)]
    model = k.Sequential([*layers, k.layers.Dense(10, activation="softmax")])
    assert model.count_params() == net.params
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = pixels(net, EPOCH)
    x = (x / 255).astype("float32")
    model.fit(x[: batch * 8], y[: batch * 8], batch_size=batch, verbose=0)
    return epochs(lambda: model.fit(x, y, batch_size=batch, verbose=0), EPOCH)


CONTESTANTS = {
    "striate": striate,
    "striate-fp32": lambda net, batch: striate(net, batch, "fp32"),
    "torch": torch_eager,
    "lightning": lightning,
    "fastai": fastai,
    **{
        f"keras-{name}": lambda net, batch, name=name: keras(net, batch, name)
        for name in ("torch", "jax", "tensorflow")
    },
}


def ceiling():
    """What this machine convolves: 3x3 256 -> 256 at 16x16, forward and backward, GFLOP/s by precision."""
    import torch
    import torch.nn.functional as F

    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(32, 256, 16, 16, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
        w = torch.randn(256, 256, 3, 3, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
        flop = 3 * 2 * 32 * 256 * 256 * 9 * 16 * 16
        F.conv2d(x, w, padding=1).sum().backward()
        times = []
        for _ in range(5):
            t = time.perf_counter()
            y = F.conv2d(x, w, padding=1)
            y.backward(y)
            times.append(time.perf_counter() - t)
        rates[str(dtype).removeprefix("torch.")] = flop / statistics.median(times) / 1e9
    return rates


def measure(name, net, batch):
    """One contestant in a process of its own; None where its library is not installed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    call = [sys.executable, __file__, "--one", name, "--nets", net, "--batches", str(batch)]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"  {name}: left out ({done.stderr.strip().splitlines()[-1][:100]})", file=sys.stderr)
        return None
    return float(done.stdout.strip().splitlines()[-1])


def main():
    """Run everything, print a table for each network and batch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=NETS)
    parser.add_argument("--batches", nargs="*", type=int, default=[64, 256])
    parser.add_argument("--only", nargs="*", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="instead: where the time of a step goes")
    parser.add_argument("--dropout", action="store_true", help="instead: the engine's dropout beside torch's")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measured = {**CONTESTANTS, "overhead": overhead}[options.one]
        print(measured(NETS[options.nets[0]], options.batches[0]))
        return
    if options.profile:
        for net, batch in product(options.nets, options.batches):
            shares = [f"{kind} {share:.1%}" for kind, share in profile(NETS[net], batch).items()]
            print(f"{net}, batch {batch}: {', '.join(shares)}", flush=True)
        return
    if options.dropout:
        for net, batch in product(options.nets, options.batches):
            print(f"{net}, batch {batch}: {dropout(NETS[net], batch):.2f} x", flush=True)
        return
    gflops = ceiling()
    print(
        "convolution here, forward and backward: "
        + ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in gflops.items())
    )
    results = {}
    for net in options.nets:
        for batch in options.batches:
            found = {name: [] for name in options.only}
            for _ in range(options.rounds):
                for name in options.only:
                    if found[name] is not None:
                        rate = measure(name, net, batch)
                        found[name] = None if rate is None else [*found[name], rate]
            found = {name: rates for name, rates in found.items() if rates}
            cost = measure("overhead", net, batch) if "striate" in found else None
            report(net, batch, found, gflops, cost)
            results[f"{net} {batch}"] = {**found, "overhead": cost}
    if options.json:
        print(json.dumps({"ceiling_gflops": gflops, "images_per_second": results}))


def report(net, batch, found, gflops, cost):
    """Medians, ratios to striate round by round, and what of the ceiling is reached."""
    print(f"\n{net}, batch {batch:<11} images/s   striate is", flush=True)
    for name, rates in found.items():
        ratios = [a / b for a, b in zip(found.get("striate", rates), rates, strict=True)]
        print(f"  {name:<20} {statistics.median(rates):9,.0f}   {statistics.median(ratios):5.2f} x")
    if cost is not None and "striate-fp32" in found:
        flop = 6 * NETS[net].macs  # forward and twice that backward, 2 a multiply-add
        share = statistics.median(found["striate-fp32"]) * flop / 1e9 / gflops["float32"]
        print(
            f"  fp32 reaches {share:.0%} of the convolution ceiling; the loop adds {cost:+.1%} to its steps"
        )


if __name__ == "__main__":
    main()

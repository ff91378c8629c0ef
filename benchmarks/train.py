"""Images a second while training the MNIST CNN of the notes (220,234 parameters), striate beside its peers.

    python benchmarks/train.py [--rounds 5] [--json]

Every contestant trains in a process of its own on the same 28x28 images, with Adam, at batch 64 and 256, two
threads, and is timed after a warm-up. The rounds are interleaved, so that a machine that drifts slows everybody;
the figure is the median over rounds, the ratio is taken round by round. `striate` is the engine and loop that
`striate train` runs, augmentation off; `bare` is its steps written out with nothing around them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

BATCHES = (64, 256)
SECONDS = 4.0  # of steps, each time a contestant is timed
DIAGRAM = "INPUT(28,28,1) => CONV(32,3) => RELU => POOL(2) => CONV(64,3) => RELU => POOL(2) => FC(64) => RELU => FC(10)"
CONTESTANTS = ("striate", "striate-fp32", "bare", "torch", "keras-torch", "keras-jax", "keras-tensorflow")


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


def pixels(n):
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n)


def striate(batch, precision="auto"):
    """Whole epochs of the loop, as `striate train` runs them."""
    import torch

    from striate.data import load
    from striate.plan import plan
    from striate.train import Recipe
    from striate.train.engine import Engine
    from striate.train.loop import Loop

    torch.manual_seed(0)
    x, y = pixels(64 * 256)
    data = load((x, y), split=(1.0, 0.0, 0.0))
    recipe = Recipe(data="arrays", model=DIAGRAM, batch_size=batch, epochs=10_000, augment="none", opt="adam")
    net = plan(DIAGRAM).build(data.shape, 10)
    engine = Engine(net.module, data.preprocess.mean, data.preprocess.std, "cpu", precision)
    loop = Loop(recipe, data, engine)
    rates = []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS + 2 or len(rates) < 3:
        loop._epoch([], lambda loop: None, lambda: False)
        rates.append(loop.state.metrics["images_per_second"])
        loop._next_epoch()
    return statistics.median(rates[1:])


def bare(batch):
    """The same steps without a loop around them: uint8 batch, standardise, forward, loss, backward, Adam."""
    import torch
    import torch.nn.functional as F

    from striate.plan import plan
    from striate.train.engine import Engine

    torch.manual_seed(0)
    x, y = pixels(batch)
    engine = Engine(plan(DIAGRAM).build((1, 28, 28), 10).module, (0.5,), (0.25,), "cpu")
    optimiser = torch.optim.Adam(engine.module.parameters(), fused=True)
    images, labels = torch.from_numpy(x)[:, None], torch.from_numpy(y)
    engine.train()

    def step():
        loss = F.cross_entropy(engine(images), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return steps(step, batch)


def torch_eager(batch):
    """Plain PyTorch as a tutorial writes it."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimiser, criterion = torch.optim.Adam(net.parameters()), nn.CrossEntropyLoss()
    x, y = pixels(batch)
    images, labels = torch.from_numpy(x)[:, None].float() / 255, torch.from_numpy(y)

    def step():
        optimiser.zero_grad()
        loss = criterion(net(images), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return steps(step, batch)


def keras(batch, backend):
    """Keras' own `fit`, at its defaults; whole epochs, the first one not counted."""
    os.environ["KERAS_BACKEND"] = backend
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras as k

    k.utils.set_random_seed(0)
    net = k.Sequential(
        [
            k.layers.Input((28, 28, 1)),
            k.layers.Conv2D(32, 3, padding="same", activation="relu"),
            k.layers.MaxPooling2D(),
            k.layers.Conv2D(64, 3, padding="same", activation="relu"),
            k.layers.MaxPooling2D(),
            k.layers.Flatten(),
            k.layers.Dense(64, activation="relu"),
            k.layers.Dense(10, activation="softmax"),
        ]
    )
    assert net.count_params() == 220_234
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    n = 32 * 256
    x, y = pixels(n)
    x = (x[..., None] / 255).astype("float32")
    net.fit(x[: batch * 8], y[: batch * 8], batch_size=batch, verbose=0)
    rates, began = [], time.perf_counter()
    while time.perf_counter() - began < SECONDS or len(rates) < 2:
        t = time.perf_counter()
        net.fit(x, y, batch_size=batch, verbose=0)
        rates.append(n / (time.perf_counter() - t))
    return statistics.median(rates)


def contest(name, batch):
    if name.startswith("keras"):
        return keras(batch, name.removeprefix("keras-"))
    if name.startswith("striate"):
        return striate(batch, "fp32" if name.endswith("fp32") else "auto")
    return {"bare": bare, "torch": torch_eager}[name](batch)


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


def measure(name, batch):
    """One contestant in a process of its own; None where its library is not installed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    call = [sys.executable, __file__, "--one", name, "--batch", str(batch)]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        print(f"  {name}: left out ({done.stderr.strip().splitlines()[-1][:100]})", file=sys.stderr)
        return None
    return float(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(contest(options.one, options.batch))
        return
    gflops = ceiling()
    print(
        "convolution here, forward and backward: "
        + ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in gflops.items())
    )
    results = {}
    for batch in BATCHES:
        found = {name: [] for name in CONTESTANTS}
        for _ in range(options.rounds):
            for name in CONTESTANTS:
                if found[name] is not None:
                    rate = measure(name, batch)
                    found[name] = None if rate is None else [*found[name], rate]
        found = {name: rates for name, rates in found.items() if rates}
        report(batch, found, gflops)
        results[batch] = found
    if options.json:
        print(json.dumps({"ceiling_gflops": gflops, "images_per_second": results}))


def report(batch, found, gflops):
    flop = (
        6 * 4_039_808
    )  # forward and twice that backward, 2 a multiply-add; 4,039,808 multiply-adds an image
    print(f"\nbatch {batch:<18} images/s   striate is")
    for name, rates in found.items():
        ratios = [a / b for a, b in zip(found["striate"], rates, strict=True)]
        print(f"  {name:<20} {statistics.median(rates):9,.0f}   {statistics.median(ratios):5.2f} x")
    share = statistics.median(found["striate-fp32"]) * flop / 1e9 / gflops["float32"]
    overhead = statistics.median(b / s - 1 for b, s in zip(found["bare"], found["striate"], strict=True))
    print(
        f"  fp32 reaches {share:.0%} of the convolution ceiling; the loop costs {overhead:+.1%} over bare steps"
    )


if __name__ == "__main__":
    main()

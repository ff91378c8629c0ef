"""Two processes against one with two threads: the same training, images a second and efficiency.

    python benchmarks/ranks.py [--rounds 3] [--images 25600] [--json]

The MNIST CNN of the notes on random 28x28 images, global batch 256, two epochs; the second one counts. One
process has two threads, each of two ranks on gloo has one. Rounds are interleaved; efficiency is the rate of two
processes over that of one, round by round, and the figure is the median.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WORDS = ["--model", "mnist_cnn", "--epochs", "2", "-b", "256", "--no-health", "--augment", "none"]


def rate(data: Path, folder: Path, ranks: int) -> float:
    """Images a second of training in the second epoch, all ranks together."""
    head = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    call = [sys.executable, *head, "-m", "striate", "train", str(data), *WORDS, "--output", str(folder)]
    threads = {"OMP_NUM_THREADS": str(2 // ranks)}
    done = subprocess.run(call, capture_output=True, text=True, env={**os.environ, **threads}, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    last = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    return float(last["images_per_second"])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=25_600)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, rates = Path(folder) / "noise.npz", {1: [], 2: []}
        random = np.random.default_rng(0)
        x = random.integers(0, 256, (options.images, 28, 28), np.uint8)
        y = np.arange(options.images) % 10
        np.savez(data, x_train=x, y_train=y, x_test=x[:1000], y_test=y[:1000])
        for turn in range(options.rounds):
            for ranks, found in rates.items():
                found.append(rate(data, Path(folder) / f"{turn}-{ranks}", ranks))
    one, two = (statistics.median(found) for found in rates.values())
    efficiency = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
    print(f"images/s: one process {one:,.0f}, two {two:,.0f}; efficiency {efficiency:.2f} (goal: 0.85)")
    if options.json:
        print(json.dumps({"images_per_second": rates, "efficiency": efficiency}))


if __name__ == "__main__":
    main()

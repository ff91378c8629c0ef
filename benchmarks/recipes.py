"""The recipes of `recipes/`, each over several seeds, beside the notes' own way of training in Keras.

    python benchmarks/recipes.py mnist.npz [--only mnist_cnn ...] [--seeds 5] [--keras] [--json]

For every recipe: test accuracy and training seconds, mean and spread over the seeds. `--keras` trains the MNIST CNN as
the notes do, batch 64, RMSprop, Keras on TensorFlow, 10 epochs of all 60,000 images, some of them after every seed of
`mnist_cnn`, so that a machine that drifts slows both, and tells the ratio of times.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

RECIPES = Path(__file__).parents[1] / "recipes"
KERAS_EPOCHS = 10


def train(data: Path, name: str, seed: int, folder: Path) -> dict[str, float]:
    """The summary of one run."""
    words = ["train", str(data), "-c", str(RECIPES / f"{name}.yaml"), "--seed", str(seed)]
    call = [sys.executable, "-m", "striate", *words, "--output", str(folder / f"{name}-{seed}"), "--json"]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def keras(data: Path) -> Iterator[dict[str, float]]:
    """The notes' recipe, an epoch a turn: seconds of `fit` so far, test accuracy."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras as k

    with np.load(data) as file:
        x, y, x_test, y_test = (file[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    x, x_test = (images[..., None].astype("float32") / 255 for images in (x, x_test))
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
    net.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds = 0.0
    for _ in range(KERAS_EPOCHS):
        began = time.perf_counter()
        net.fit(x, y, batch_size=64, verbose=0)
        seconds += time.perf_counter() - began
        yield {"train_seconds": seconds, "test_accuracy": float(net.evaluate(x_test, y_test, verbose=0)[1])}


def told(values: list[float], unit: str, scale: float = 1) -> str:
    """`99.33 ± 0.07 %`"""
    spread = statistics.stdev(values) * scale if len(values) > 1 else 0.0
    return f"{statistics.mean(values) * scale:.2f} ± {spread:.2f} {unit}"


def main() -> None:
    """Run, print a line a recipe."""
    names = sorted(p.stem for p in RECIPES.glob("*.yaml"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--only", nargs="*", default=[n for n in names if n.startswith("mnist")], choices=names
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keras", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {}
    epochs, theirs = keras(options.data) if options.keras else iter(()), []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            runs = results[name] = []
            for seed in range(options.seeds):
                runs.append(train(options.data, name, seed, Path(folder)))
                if name == "mnist_cnn":
                    theirs += islice(epochs, KERAS_EPOCHS // options.seeds)
            accuracies = told([run["test_accuracy"] for run in runs], "%", 100)
            seconds = told([run["train_seconds"] for run in runs], "s")
            print(f"{name:<12} test {accuracies}, training {seconds}, {options.seeds} seeds", flush=True)
    if options.keras:
        last = [*theirs, *epochs][-1]
        results["keras"] = [last]
        print(
            f"{'keras':<12} test {100 * last['test_accuracy']:.2f} %, training {last['train_seconds']:.0f} s"
        )
        if "mnist_cnn" in results:
            ours = statistics.mean(run["train_seconds"] for run in results["mnist_cnn"])
            print(f"mnist_cnn takes 1/{last['train_seconds'] / ours:.1f} of its time")
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()

"""Transfer learning beside Keras: features a second, folder to trained head, a second head, and small data.

    python benchmarks/transfer.py [--weights FILE] [--images 2000] [--rounds 3] [--story ZIP] [--json]

`features`: the same uint8 images at 224 px through MobileNet v2 without its head, here and by `predict` of Keras on
TensorFlow in a process of its own, reading Keras' own network; images a second, median over interleaved rounds, and
the ratio. `folder to head`: seconds from a folder of JPEGs to a trained head and its accuracy, by `striate train
--freeze features` with a cold cache, and by Keras' recipe (a data set from the directory, predict, fit a dense layer).
`second head`: seconds for one more head on 10,000 cached features. `--story cifar10.zip`: cats, dogs and ships, 250
training images each at 128 px, from scratch, with frozen features, and fine-tuned; and five classes of shapes.
Without `--weights`, the weights are random: times are the same, accuracies are not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

KERAS = """
import json, os, sys, time
os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
import keras, numpy as np
job, weights, folder = sys.argv[1:4]
whole = keras.applications.MobileNetV2(weights=None)
if weights:
    whole.load_weights(weights)
base = keras.Model(whole.input, whole.layers[-2].output)
if job == "features":
    images = np.load(folder)
    base.predict(images[:64] / np.float32(127.5) - 1, batch_size=32, verbose=0)
    for line in sys.stdin:
        began = time.perf_counter()
        base.predict(images / np.float32(127.5) - 1, batch_size=32, verbose=0)
        print(json.dumps(len(images) / (time.perf_counter() - began)), flush=True)
else:
    began = time.perf_counter()
    read = lambda part: keras.utils.image_dataset_from_directory(
        f"{folder}/{part}", image_size=(224, 224), batch_size=32, shuffle=False, verbose=False)
    (x, y), (u, v) = ((base.predict(data.map(lambda a, b: a / 127.5 - 1), verbose=0),
                       np.concatenate([b for _, b in data])) for data in (read("train"), read("test")))
    head = keras.Sequential([keras.layers.Dense(int(y.max()) + 1, activation="softmax")])
    head.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    head.fit(x, y, epochs=30, batch_size=64, verbose=0)
    print(json.dumps([time.perf_counter() - began, head.evaluate(u, v, verbose=0)[1]]))
"""


def keras_process(job: str, weights: str, where: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", KERAS, job, weights, str(where)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def features(weights: str, count: int, rounds: int, scratch: Path) -> dict[str, float]:
    """Images a second here and there."""
    import numpy as np
    import torch

    from striate import zoo
    from striate.data import Preprocess
    from striate.train.engine import Engine
    from striate.transfer import base_and_tail, load_weights
    from striate.transfer.extract import BATCH, extractor

    images = np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), np.uint8)
    np.save(scratch / "images.npy", images)
    if weights:
        net = load_weights("mobilenet_v2", weights).module
    else:
        net = zoo.build("mobilenet_v2", **zoo.arguments("mobilenet_v2", "keras"))
    base = base_and_tail(net)[0].eval()
    prepare = Preprocess((224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    engine = Engine(base, prepare.mean, prepare.std, "cpu")
    run = extractor(base, engine.prepare, (3, 224, 224), engine.dtype, max(count, 256))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    run(x[:BATCH])
    mine, theirs = [], []
    with keras_process("features", weights, scratch / "images.npy") as peer:
        assert peer.stdin
        assert peer.stdout
        for _ in range(rounds):
            peer.stdin.write("\n")
            peer.stdin.flush()
            theirs.append(json.loads(peer.stdout.readline()))
            began = time.perf_counter()
            for part in x.split(BATCH):
                run(part)
            mine.append(count / (time.perf_counter() - began))
        peer.stdin.close()
    ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
    return {"ours": statistics.median(mine), "keras": statistics.median(theirs), "ratio": ratio}


def folder_to_head(weights: str, count: int, scratch: Path) -> dict[str, float]:
    """Seconds and accuracy from a folder of JPEGs, both as processes started anew."""
    from striate.data import make_shapes

    data = scratch / "data"
    make_shapes(data / "train", classes=3, per_class=count // 3, size=224)
    make_shapes(data / "test", classes=3, per_class=100, size=224, seed=1)
    with keras_process("folder", weights, data) as peer:
        assert peer.stdout
        keras_seconds, keras_accuracy = json.loads(peer.stdout.read())
    began = time.perf_counter()
    summary = striate_train(data, weights, scratch / "run", "--freeze", "features")
    return {
        "ours": time.perf_counter() - began,
        "ours_accuracy": summary["test_accuracy"],
        "keras": keras_seconds,
        "keras_accuracy": keras_accuracy,
    }


def striate_train(data: Path, weights: str, output: Path, *flags: str) -> dict[str, Any]:
    command = ["train", str(data), "--model", "mobilenet_v2", "--weights", weights, "--output", str(output)]
    environment = {**os.environ, "STRIATE_HOME": str(output.parent / "home")}
    words = [sys.executable, "-m", "striate", *command, *flags, "--json"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def second_head(count: int = 10_000) -> float:
    """Seconds for a linear head on cached features: those of one image each, drawn at random around its class."""
    import numpy as np
    import torch

    from striate import zoo
    from striate.data import ArrayImages, DataSet, Preprocess
    from striate.train import phases, recipe
    from striate.train.checkpoint import Model
    from striate.train.engine import Engine
    from striate.train.loop import Loop

    labels = np.arange(count) % 10
    pixels = torch.zeros(count, 3, 1, 1, dtype=torch.uint8)
    images = ArrayImages(pixels, labels, [str(i) for i in range(count)])
    prepare = Preprocess((1, 1))
    few = ArrayImages(pixels[:1000], labels[:1000], images.ids[:1000])
    data = DataSet("features", tuple("0123456789"), images, few, few, prepare)
    net = zoo.build("mobilenet_v2", num_classes=10)
    told = recipe({"data": "-", "model": "mobilenet_v2", "weights": "-", "freeze": "features", "lr": 1e-3})
    loop = Loop(told, data, Engine(net, prepare.mean, prepare.std, "cpu"))
    model = Model(net, {}, (3, 1, 1), 10, data.classes, prepare)
    torch.manual_seed(0)
    x = torch.randn(10, 1280)[torch.from_numpy(labels)] + torch.randn(count, 1280)
    began = time.perf_counter()
    for _ in phases.fit_head(loop, model, x, x[:1000]):
        pass
    return time.perf_counter() - began


def story(weights: str, archive: Path, scratch: Path) -> dict[str, dict[str, float]]:
    """Test accuracy from scratch, with frozen features, and fine-tuned."""
    from striate.data import make_shapes

    pets = scratch / "cat-dog-ship"
    with zipfile.ZipFile(archive) as z:
        for part, many in (("train", 250), ("test", 250)):
            for name in ("cat", "dog", "ship"):
                (pets / part / name).mkdir(parents=True)
                files = sorted(
                    n for n in z.namelist() if n.startswith(f"{part}/{name}/") and n.endswith(".jpg")
                )
                for file in files[:many]:
                    (pets / part / name / file.rpartition("/")[2]).write_bytes(z.read(file))
    make_shapes(scratch / "shapes", classes=5, per_class=250)
    found = {}
    for data in (pets, scratch / "shapes"):
        size = ("--img-size", "128", "--epochs", "10", "--augment", "shift-flip")
        frozen = striate_train(data, weights, scratch / f"{data.name}-head", *size, "--freeze", "features")
        tuned = striate_train(
            data, weights, scratch / f"{data.name}-tuned", *size, "--unfreeze", "3", "--compare-scratch"
        )
        found[data.name] = {
            "from scratch": tuned["scratch"]["test_accuracy"],
            "frozen features": frozen["test_accuracy"],
            "fine-tuned": tuned["test_accuracy"],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="", help="Keras' MobileNetV2 as .weights.h5")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--story", type=Path, help="cifar10.zip: folders train/ and test/ of classes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        found: dict[str, Any] = {
            "features a second": features(given.weights, given.images, given.rounds, scratch)
        }
        if given.weights:
            found["seconds, folder to head"] = folder_to_head(given.weights, given.images, scratch)
        found["seconds, second head on 10,000 features"] = second_head()
        if given.weights and given.story:
            found["test accuracy, small data"] = story(given.weights, given.story, scratch)
    print(json.dumps(found, indent=None if given.json else 2))


if __name__ == "__main__":
    main()

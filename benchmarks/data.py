"""How fast images reach the network, beside what else does it; ratios of one run on one machine.

    python benchmarks/data.py [PART...] [--quick] [--plot FILE] [--json]

Parts, all of them unless some are named:
    jpeg      a folder of JPEGs as batches of 224x224: striate, torch's DataLoader with Pillow, Keras, bare OpenCV
    cache     a later epoch against the first
    keras     the full ImageDataGenerator at 150x150 against Keras' own class
    augment   pad-crop-flip at CIFAR size; an epoch of augmented MNIST-sized batches
    training  what augmentation adds to a training step of a small CIFAR network
    memory    peak memory of an epoch over 10, 20, 40 and 60 thousand JPEGs in a zip; draws docs/images/data-memory.svg

The photographs are `imagenet-samples-250.zip` and `cifar10.zip` in STRIATE_TEST_DATA (or ../shared/data). Contestants
take turns, so that a machine that drifts slows everybody; figures are medians.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

WORKERS = 2
BATCH = 64
SIDE = 224
PLOT = Path(__file__).parents[1] / "docs" / "images" / "data-memory.svg"


def data_folder():
    return Path(os.environ.get("STRIATE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def timed(run):
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def rounds(contestants, n):
    """Seconds of each contestant, the median of n rounds in which all take turns."""
    seconds = {name: [] for name in contestants}
    for _ in range(n):
        for name, run in contestants.items():
            seconds[name].append(timed(run))
    return {name: statistics.median(s) for name, s in seconds.items()}


def photographs(root, copies):
    """The samples, `copies` times, in five class folders."""
    with zipfile.ZipFile(data_folder() / "imagenet-samples-250.zip") as z:
        for i, name in enumerate(z.namelist()):
            folder = root / f"class{i % 5}"
            folder.mkdir(parents=True, exist_ok=True)
            for k in range(copies):
                (folder / f"{k}-{Path(name).name}").write_bytes(z.read(name))
    return root


def striate_epoch(folder, cache, epoch=0):
    from striate.data import Loader, Preprocess, load

    # a known mean and std, so that nothing is decoded before the clock runs
    prepare = Preprocess((SIDE, SIDE), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    data = load(folder, preprocess=prepare, split=(1, 0, 0), cache=cache)
    return lambda: drain(
        prepare.normalise(x) for x, _ in Loader(data.train, BATCH, epoch=epoch, workers=WORKERS)
    )


def drain(batches):
    for _ in batches:
        pass


def dataloader_epoch(folder):
    """torch's DataLoader with worker processes, Pillow, and the usual conversion to floats."""
    import numpy as np
    import torch
    from PIL import Image

    class Photographs(torch.utils.data.Dataset):
        files = sorted(folder.rglob("*.JPEG"))

        def __len__(self):
            return len(self.files)

        def __getitem__(self, i):
            with Image.open(self.files[i]) as image:
                small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            x = torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div(255)
            return (x - 0.45) / 0.225, i % 5

    loader = torch.utils.data.DataLoader(Photographs(), BATCH, shuffle=True, num_workers=WORKERS)
    return lambda: drain(loader)


def keras_epoch(folder):
    try:
        import tensorflow  # noqa: F401
    except ImportError:
        print("  keras image_dataset_from_directory: left out, tensorflow isn't installed")
        return None
    import keras

    found = keras.utils.image_dataset_from_directory(
        folder, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=False
    )
    return lambda: drain(found)


def opencv(folder, resize):
    """Decoding by OpenCV with nothing around it, in as many threads."""
    from concurrent.futures import ThreadPoolExecutor

    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    contents = [f.read_bytes() for f in sorted(folder.rglob("*.JPEG"))]

    def one(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return cv2.resize(image, (SIDE, SIDE)).shape if resize else image.shape

    def run():
        with ThreadPoolExecutor(WORKERS) as pool:
            drain(pool.map(one, contents))

    return run


def jpeg(quick):
    with tempfile.TemporaryDirectory() as temporary:
        folder = photographs(Path(temporary) / "photographs", 1 if quick else 8)
        n = len(list(folder.rglob("*.JPEG")))
        contestants = {
            "striate": lambda: striate_epoch(folder, "off")(),
            "torch DataLoader + Pillow": dataloader_epoch(folder),
            "OpenCV decode": opencv(folder, False),
            "OpenCV decode + resize": opencv(folder, True),
        }
        if peer := keras_epoch(folder):
            contestants["keras image_dataset_from_directory"] = peer
        seconds = rounds(contestants, 1 if quick else 3)
    for name, s in seconds.items():
        print(f"  {name:36} {n / s:8,.0f} images/s")
    ratios = {f"over {k}": seconds[k] / seconds["striate"] for k in seconds if k != "striate"}
    return {"images": n, "images_per_second": {k: n / s for k, s in seconds.items()}, **ratios}


def cache(quick):
    from striate.data import Loader, Preprocess, load

    with tempfile.TemporaryDirectory() as temporary:
        os.environ["STRIATE_HOME"] = temporary + "/home"
        folder = photographs(Path(temporary) / "photographs", 1 if quick else 8)
        prepare = Preprocess((SIDE, SIDE))
        data = load(folder, preprocess=prepare, split=(1, 0, 0), cache="disk")
        epochs = [
            timed(lambda e=e: drain(Loader(data.train, BATCH, epoch=e, workers=WORKERS))) for e in range(4)
        ]
    n = len(data.train)
    print(f"  first epoch {n / epochs[0]:,.0f} images/s, later ones {n / statistics.median(epochs[1:]):,.0f}")
    return {"over first": epochs[0] / statistics.median(epochs[1:])}


def keras(quick):
    import numpy as np

    from striate.data import ImageDataGenerator

    os.environ.setdefault("KERAS_BACKEND", "torch")
    warnings.simplefilter("ignore", DeprecationWarning)
    from keras.src.legacy.preprocessing.image import ImageDataGenerator as Theirs

    n = 64 if quick else 512
    x = np.random.default_rng(0).integers(0, 256, (n, 150, 150, 3)).astype("float32")
    full = {
        "rotation_range": 40, "width_shift_range": 0.2, "height_shift_range": 0.2, "shear_range": 0.2,
        "zoom_range": 0.2, "horizontal_flip": True, "fill_mode": "nearest",
    }  # fmt: skip
    flows = {
        name: c(**full).flow(x, batch_size=32, seed=1)
        for name, c in (("striate", ImageDataGenerator), ("keras", Theirs))
    }
    for flow in flows.values():
        next(flow)
    epochs = {name: (lambda f=f: [next(f) for _ in range(n // 32)]) for name, f in flows.items()}
    seconds = rounds(epochs, 1 if quick else 5)
    print("  " + ", ".join(f"{name} {n / s:,.0f} images/s" for name, s in seconds.items()))
    return {"over keras": seconds["keras"] / seconds["striate"]}


def augment(quick):
    import torch

    from striate.data import ArrayImages, Augmentation, Loader

    found = {}
    for name, shape, preset in (
        ("pad-crop-flip 3x32x32, images/s", (50_000, 3, 32, 32), "cifar"),
        ("MNIST epoch, seconds", (60_000, 1, 28, 28), "digits"),
    ):
        n = shape[0] // (10 if quick else 1)
        pixels = torch.randint(0, 256, (n, *shape[1:]), dtype=torch.uint8)
        images = ArrayImages(pixels, (torch.arange(n) % 10).numpy(), range(n))
        change, generator = Augmentation.of(preset), torch.Generator().manual_seed(0)

        def epoch(images=images, change=change, generator=generator):
            for x, y in Loader(images, 256):
                change(x, y, generator)

        epoch()
        seconds = statistics.median(timed(epoch) for _ in range(1 if quick else 5)) * shape[0] / n
        found[name] = seconds if "seconds" in name else shape[0] / seconds
        print(f"  {name}: {found[name]:,.2f}")
    return found


def training(quick):
    """Steps of the CIFAR network of the notes, with and without pad-crop-flip."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from striate.data import Augmentation, Preprocess

    def conv(a, b):
        return nn.Sequential(nn.Conv2d(a, b, 2, padding="same"), nn.ReLU(), nn.MaxPool2d(2))

    net = nn.Sequential(
        conv(3, 16),
        conv(16, 32),
        conv(32, 64),
        nn.Flatten(),
        nn.Linear(1024, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )
    optimiser = torch.optim.Adam(net.parameters())
    x = torch.randint(0, 256, (128, 3, 32, 32), dtype=torch.uint8)
    y = torch.randint(0, 10, (128,))
    prepare, generator = Preprocess((32, 32)), torch.Generator()

    def steps(change):
        def run():
            for _ in range(10 if quick else 100):
                images, labels = change(x, y, generator)
                optimiser.zero_grad()
                F.cross_entropy(net(prepare.normalise(images)), labels).backward()
                optimiser.step()

        run()
        return run

    contestants = {"plain": steps(Augmentation()), "augmented": steps(Augmentation.of("cifar"))}
    seconds = rounds(contestants, 2 if quick else 7)
    slower = seconds["augmented"] / seconds["plain"] - 1
    print(f"  a step with pad-crop-flip takes {100 * slower:.1f} % longer")
    return {"slower": slower}


def memory(quick, plot=None):
    """Each number of images in a process of its own; what counts is the growth over its start."""
    counts = (500, 1000, 2000) if quick else (10_000, 20_000, 40_000, 60_000)
    found = {}
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(data_folder() / "cifar10.zip") as z:
        names = [n for n in z.namelist() if n.endswith(".jpg")]
        for n in counts:
            path = Path(temporary) / f"{n}.zip"
            with zipfile.ZipFile(path, "w") as part:
                for name in names[:: len(names) // n][:n]:
                    part.writestr(name.replace("test/", "train/0"), z.read(name))
            done = subprocess.run(
                [sys.executable, __file__, "--one-epoch", str(path)],
                env=os.environ | {"STRIATE_HOME": temporary + "/home"}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            found[n] = json.loads(done.stdout.splitlines()[-1])
            path.unlink()
            print(
                f"  {n:6,} images: peak {found[n]['peak']:.0f} MiB, {found[n]['growth']:.0f} over the start"
            )
    if plot:
        draw(found, plot)
    per_image = (found[counts[-1]]["peak"] - found[counts[0]]["peak"]) / (counts[-1] - counts[0])
    return {"peak_mib": {n: f["peak"] for n, f in found.items()}, "kib_per_image": per_image * 1024}


def draw(found, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot(list(found), [f["peak"] for f in found.values()], "o-", label="peak of an epoch")
    axes.plot(list(found), [f["peak"] - f["growth"] for f in found.values()], "--", label="before it")
    axes.set(
        xlabel="JPEGs in the zip",
        ylabel="resident memory, MiB",
        ylim=(0, 1.15 * max(f["peak"] for f in found.values())),
    )
    axes.legend()
    figure.savefig(path)


def one_epoch(path):
    """Child of `memory`: opens the archive, reads everything twice, prints its peak."""
    import cv2  # noqa: F401
    import PIL.Image  # noqa: F401
    import torch

    from striate.data import Augmentation, Loader, load

    def peak():
        """MiB; not getrusage's figure, which a child takes over from its parent."""
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    change, generator = Augmentation.of("cifar"), torch.Generator()
    warm = torch.zeros(BATCH, 3, 32, 32, dtype=torch.uint8)
    change(warm, torch.zeros(BATCH), generator)
    start = peak()
    data = load(path, split=(1, 0, 0))
    for epoch in range(2):
        for x, y in Loader(data.train, BATCH, epoch=epoch, workers=WORKERS):
            change(x, y, generator)
    print(json.dumps({"peak": peak(), "growth": peak() - start, "images": len(data.train)}))


PARTS = {
    "jpeg": jpeg,
    "cache": cache,
    "keras": keras,
    "augment": augment,
    "training": training,
    "memory": memory,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes: only to see that it runs")
    parser.add_argument(
        "--plot", metavar="FILE", help="picture of `memory`; not drawn with --quick unless named"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--one-epoch", metavar="ZIP", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one_epoch:
        return one_epoch(given.one_epoch)
    if not data_folder().is_dir():
        sys.exit(f"no photographs at {data_folder()}: set STRIATE_TEST_DATA")
    from striate.train.engine import keep_memory

    keep_memory()  # as training does: every contestant of this process has it
    found = {}
    home = tempfile.mkdtemp()
    os.environ["STRIATE_HOME"] = home
    try:
        for name in given.parts or PARTS:
            print(f"{name}")
            plot = given.plot or (None if given.quick else PLOT)
            found[name] = memory(given.quick, plot) if name == "memory" else PARTS[name](given.quick)
            for key, value in found[name].items():
                if key.startswith("over"):
                    print(f"  striate is {value:.2f}x {key.removeprefix('over ')}")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if given.json:
        print(json.dumps(found))
    return None


if __name__ == "__main__":
    main()

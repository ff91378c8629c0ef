"""Few pictures, three ways: from scratch, a head on frozen features of ImageNet's weights, fine-tuned."""

import zipfile

import pytest

from striate.data import make_shapes
from striate.train import recipe, train

pytestmark = pytest.mark.slow
SETTINGS = {"model": "mobilenet_v2", "img_size": 128, "epochs": 10, "augment": "shift-flip", "health": False}


def cats_dogs_ships(shared_data, folder):
    """250 images of each for training and 250 for testing."""
    with zipfile.ZipFile(shared_data / "cifar10.zip") as z:
        for part in ("train", "test"):
            for name in ("cat", "dog", "ship"):
                (folder / part / name).mkdir(parents=True)
                files = sorted(
                    n for n in z.namelist() if n.startswith(f"{part}/{name}/") and n.endswith(".jpg")
                )
                for file in files[:250]:
                    (folder / part / name / file.rpartition("/")[2]).write_bytes(z.read(file))
    return folder


def five_shapes(shared_data, folder):
    return make_shapes(folder, classes=5, per_class=250)


@pytest.mark.parametrize("make", [cats_dogs_ships, five_shapes])
def test_weights_are_worth_fifteen_points(make, shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path / "home"))
    data = make(shared_data, tmp_path / "data")
    weights = shared_data / "weights" / "mobilenet_v2_imagenet.weights.h5"
    told = {**SETTINGS, "data": str(data), "weights": str(weights)}
    frozen = train(recipe({**told, "freeze": "features"}), tmp_path / "frozen", report=False).summary
    tuned = train(
        recipe({**told, "unfreeze": 3, "compare_scratch": True}), tmp_path / "tuned", report=False
    ).summary
    scratch, head, whole = (s["test_accuracy"] for s in (tuned["scratch"], frozen, tuned))
    print(f"{make.__name__}: from scratch {scratch:.3f}, frozen features {head:.3f}, fine-tuned {whole:.3f}")
    assert head >= scratch + 0.15
    assert whole >= head - 0.02

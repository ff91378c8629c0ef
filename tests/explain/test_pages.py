"""The pages of `look` that aren't heat maps: what they are about, and that their arrays are what they show."""

from pathlib import Path

import numpy as np
import pytest
import torch

from striate.data import ArrayImages
from striate.errors import UsageError
from striate.explain.embedding import embed
from striate.explain.filters import features
from striate.explain.pages import spread
from striate.explain.subject import Subject
from striate.explain.view import look

NAMES = ("cat", "dog", "cow", "hen")


@pytest.fixture
def subject(plain) -> Subject:
    return Subject(plain, NAMES, lambda x: x.float() / 255 - 0.5, (3, 12, 10))


@pytest.fixture
def data() -> ArrayImages:
    pixels = torch.randint(0, 256, (90, 3, 12, 10), dtype=torch.uint8)
    return ArrayImages(pixels, np.arange(90) % 4, [str(i) for i in range(90)])


def page(subject, method, data=None, **options):
    ((name, view),) = look(subject, [method], data=None if data is None else lambda: data, **options)
    assert name == method
    return view


def test_filters_and_climbed_images(subject, monkeypatch):
    monkeypatch.setattr("striate.explain.pages.STEPS", 5)
    assert page(subject, "filters").facts == {"layer": "conv1", "shape": [6, 3, 3, 3]}
    assert page(subject, "filters", layer="conv2").facts["layer"] == "conv2"
    assert page(subject, "maximise").facts == {"wanted": list(NAMES)}
    one = page(subject, "maximise", target="cow")
    assert one.arrays["images"].shape == (1, 3, 12, 10)
    assert np.abs(one.arrays["images"]).max() < 0.5001  # pixels of 0 to 255
    assert page(subject, "maximise", layer="conv1").facts["wanted"][5] == "conv1, channel 5"


def test_pages_of_one_image(subject, data):
    pixels = data.read([0])[0]
    views = dict(look(subject, ["features", "deconvnet", "saliency"], [(Path("a.png"), pixels)]))
    assert list(views) == ["a-saliency", "a-features", "a-deconvnet"]
    expected = features(subject.module, subject.normalise(pixels[None]))
    assert list(views["a-features"].arrays) == ["relu1", "relu2"]
    np.testing.assert_array_equal(views["a-features"].arrays["relu2"], expected["relu2"][0].numpy())
    assert len(views["a-deconvnet"].facts["channels"]) == 6
    assert all(view.facts["file"] == "a.png" for view in views.values())


def test_pages_of_a_data_set(subject, data):
    strongest = page(subject, "deconvnet", data)
    assert strongest.facts["layers"] == ["relu1", "relu2"]
    assert {len(rows) for rows in strongest.facts["images"]["relu2"].values()} == {9}
    assert page(subject, "deconvnet", data, layer="conv2").facts["layers"] == ["conv2"]
    flat = page(subject, "embedding", data)
    np.testing.assert_array_equal(
        flat.arrays["features"], embed(subject.module, subject.normalise(data.pixels).split(64))
    )
    assert flat.arrays["places"].shape == (90, 2)
    assert page(subject, "neighbours", data).arrays["near"].shape == (90, 5)
    look_at = page(subject, "health", data).facts
    assert [g["layer"] for g in look_at["gradients"]] == ["conv1", "conv2", "fc"]


@pytest.mark.parametrize("method", ["embedding", "neighbours", "health"])
def test_images_with_several_labels_are_refused_where_a_class_is_needed(subject, data, method):
    data.labels = np.eye(4, dtype=np.float32)[data.labels]
    with pytest.raises(UsageError, match="several labels"):
        page(subject, method, data)


def test_numbers_from_all_over():
    assert spread(5, 9) == [0, 1, 2, 3, 4]
    assert spread(101, 3) == [0, 50, 100]


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("features", {}, "features explains images: none was given"),
        ("embedding", {}, "embedding looks at a data set"),
        ("deconvnet", {}, "deconvnet looks at a data set"),
        ("health", {"layer": "conv1"}, "health looks at a data set"),
        ("filters", {"layer": "conv7"}, "no layer 'conv7'"),
        ("maximise", {"target": "cot"}, "unknown class 'cot'"),
    ],
)
def test_bad_requests(subject, method, options, message):
    with pytest.raises(UsageError, match=message):
        list(look(subject, [method], **options))

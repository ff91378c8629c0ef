"""What the pictures show, read back from their pixels; and what the call refuses before it draws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.errors import UsageError
from striate.explain import METHODS, attribute
from striate.explain.subject import Subject
from striate.explain.view import look, save

NAMES = ("cat", "dog", "cow", "hen")


@pytest.fixture
def subject(plain) -> Subject:
    return Subject(plain, NAMES, lambda x: x.float() / 255 - 0.5)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (3, 12, 10), dtype=torch.uint8)


def test_every_method_of_an_image_on_one_sheet(subject, pixels, tmp_path):
    ((name, view),) = look(subject, list(METHODS), [(Path("a/b.png"), pixels)])
    assert name == "b-methods"
    assert view.facts["target"] == view.facts["label"]
    assert view.facts["layer"] == "relu2"
    facts = save(view, tmp_path / "new", name, npz=True)
    with Image.open(facts["picture"]) as picture:
        assert picture.size == view.picture.size
    with np.load(facts["arrays"]) as file:
        arrays = dict(file)
    assert set(arrays) == {"image", *(f"{m}.{a}" for m in METHODS for a in ("raw", "heat"))}
    expected = attribute(subject.module, subject.normalise(pixels[None]), "layer-cam").raw[0]
    np.testing.assert_array_equal(arrays["layer-cam.raw"], expected.numpy())
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["b-methods.npz", "b-methods.png"]


def test_class_and_layer_by_name(subject, pixels):
    ((_, view),) = look(subject, ["grad-cam"], [(Path("x.png"), pixels)], None, "cow", "relu1")
    assert (view.facts["target"], view.facts["layer"]) == ("cow", "relu1")
    expected = attribute(subject.module, subject.normalise(pixels[None]), "grad-cam", 2, "relu1").raw[0]
    np.testing.assert_array_equal(view.arrays["grad-cam.raw"], expected.numpy())
    assert subject.class_number("3") == 3


def test_files_of_one_name_get_pictures_of_their_own(subject, pixels):
    files = [(Path("a/x.png"), pixels), (Path("b/x.png"), pixels), (Path("y.png"), pixels)]
    assert [name for name, _ in look(subject, ["saliency"], files)] == [
        "x-1-saliency",
        "x-2-saliency",
        "y-saliency",
    ]
    taken = [(Path("a/x.png"), pixels), (Path("b/x.png"), pixels), (Path("x-1.png"), pixels)]
    assert [name for name, _ in look(subject, ["saliency"], taken)] == [
        "x-2-saliency",
        "x-3-saliency",
        "x-1-saliency",
    ]


def test_probability_of_one_logit(subject, pixels):
    subject.module.fc = torch.nn.Linear(6, 1)
    x = subject.normalise(pixels[None])
    label, probability = subject.says(x)
    p = float(torch.sigmoid(subject.module.eval()(x))[0, 0].detach())
    assert label == ("dog" if p > 0.5 else "cat")
    assert probability == pytest.approx(max(p, 1 - p))


def test_several_labels_have_probabilities_of_their_own(plain, pixels):
    subject = Subject(plain, NAMES, lambda x: x.float() / 255 - 0.5, (3, 12, 10), several=True)
    with torch.no_grad():
        p = plain.eval()(subject.normalise(pixels[None]))[0].sigmoid()
    label, probability = subject.says(subject.normalise(pixels[None]))
    assert (label, probability) == (NAMES[int(p.argmax())], pytest.approx(float(p.max())))


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"methods": ["gradcam"]}, "unknown method 'gradcam'", "grad-cam"),
        ({"target": "cot"}, "unknown class 'cot'", "cat"),
        ({"target": "4"}, "unknown class '4'", "0 to 3"),
        ({"images": []}, "grad-cam explains images: none was given", "FILE"),
        ({"methods": ["saliency"], "layer": "relu1"}, "no method asked for looks at a layer", ""),
        ({"methods": ["maximise"], "layer": "relu1", "target": "cow"}, "to a class or to the channels", ""),
        ({"methods": ["health"], "data": list, "images": []}, "health: the split has no images", "--split"),
        ({"methods": ["deconvnet"], "data": list, "images": []}, "deconvnet: the split has no images", ""),
    ],
)
def test_bad_requests(subject, pixels, arguments, message, hint):
    defaults = {"images": [(Path("x.png"), pixels)], "methods": ["grad-cam"]}
    with pytest.raises(UsageError, match=message) as caught:
        list(look(subject, **(defaults | arguments)))
    assert hint in caught.value.hint


def test_weights_that_are_no_numbers_are_not_drawn(subject):
    with torch.no_grad():
        next(subject.module.parameters())[0] = float("nan")
    with pytest.raises(UsageError, match="has weights that are no numbers"):
        list(look(subject, ["filters"]))


def test_a_folder_that_cannot_be_made(subject, pixels, tmp_path):
    (tmp_path / "file").write_text("")
    ((name, view),) = look(subject, ["saliency"], [(Path("x.png"), pixels)])
    with pytest.raises(UsageError, match="can't write to"):
        save(view, tmp_path / "file" / "new", name)

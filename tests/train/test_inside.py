"""The pictures of the report that look into the network, beside the functions they come from and by hand."""

import json

import numpy as np
import pytest

from striate.explain import attribute
from striate.train import inside, recipe, train
from striate.train.metrics import Evaluation
from striate.train.records import read_health

NET = "INPUT(8,8,1) => CONV(6,3) => RELU => POOL => CONV(6,3) => RELU => FC"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside") / "run"
    return train(recipe({"data": "digits", "model": NET, "epochs": 2}), folder, report=False)


@pytest.fixture(scope="module")
def found(run):
    data, evaluation = run.dataset(), run.evaluate()
    mistakes = evaluation.mistakes(5)
    return data, evaluation, mistakes, inside.inside(run.model(), data.test, evaluation, mistakes)


def test_heat_maps_are_those_of_what_the_network_said(run, found, monkeypatch):
    data, evaluation, mistakes, shown = found
    assert len(shown["heats"]) == 5
    painted = []
    monkeypatch.setattr(inside, "_over", lambda image, heat: painted.append((image, heat)) or "")
    model = run.model()
    inside.heats(model, data.test, evaluation, mistakes)
    pixels = data.test.read([mistakes[0].index])
    said = evaluation.classes.index(mistakes[0].predicted)
    expected = attribute(model.module, model.preprocess.normalise(pixels), "grad-cam", said).heat[0]
    assert (painted[0][0] == pixels[0].numpy()).all()
    np.testing.assert_allclose(painted[0][1], expected.numpy(), atol=1e-5)


def test_one_image_of_each_class_at_each_resolution(found):
    stages = found[3]["stages"]
    assert [row["name"] for row in stages] == [str(i) for i in range(10)]
    assert [title.split(":")[0] for title, _ in stages[0]["maps"]] == ["relu1", "relu2"]
    assert all(src.startswith("data:image/") for row in stages for _, src in row["maps"])
    assert found[3]["embedding"].startswith("data:image/jpeg")


def test_a_dense_network_has_no_maps_and_the_page_does_without(tmp_path):
    dense = train(recipe({"data": "digits", "model": "INPUT(8,8,1) => FC", "epochs": 1}), tmp_path / "run")
    text = (dense.folder / "report.html").read_text(encoding="utf-8")
    assert "Grad-CAM" not in text
    assert "What the stages see" not in text
    assert "as the network sees them" in text


def test_calibration_by_hand():
    said = np.array([0.55, 0.59, 0.95, 0.97, 1.0])
    right = np.array([True, False, True, True, False])
    table = inside.calibration(said, right)
    assert [(round(c, 4), round(r, 4), n) for c, r, n in table] == [(0.57, 0.5, 2), (0.9733, 0.6667, 3)]
    assert inside.calibration_error(table) == pytest.approx(
        (2 * 0.07 + 3 * (0.97333 - 0.66667)) / 5, abs=1e-4
    )
    assert (
        inside.calibration_error(inside.calibration(np.array([0.8] * 5), np.array([1, 1, 1, 1, 0]) > 0)) == 0
    )


def test_an_evaluation_without_a_class_shows_the_others(run):
    data = run.dataset()
    kept = np.flatnonzero(data.test.labels != 3)
    some = type(data.test)(data.test.pixels[kept], data.test.labels[kept], [str(i) for i in kept])
    probabilities = np.eye(10, dtype=np.float32)[some.labels]
    evaluation = Evaluation(data.classes, some.ids, some.labels, probabilities)
    assert [row["name"] for row in inside.stage_maps(run.model(), some, evaluation)] == list("012456789")


def test_health_is_read_from_the_run(run, tmp_path):
    looks = read_health(run.folder)
    assert [look["epoch"] for look in looks] == [1, 2]
    svg = inside.gradients_by_layer(looks)
    assert 'class="training"' in svg
    assert 'class="validation"' in svg
    assert f"layer, from the image on 1: {looks[-1]['gradients'][0]['rms']:.2g}" in svg
    assert read_health(tmp_path) == []
    (tmp_path / "health.jsonl").write_text(json.dumps(looks[0]) + "\n")
    assert 'class="validation"' in inside.gradients_by_layer(read_health(tmp_path))


def test_histograms_on_one_scale():
    """Four weights between 0 and 1, then four between 0 and 2: the first fill the lower half of the bins alone."""
    narrow, wide = (
        {"low": 0.0, "high": 1.0, "counts": [1, 1, 1, 1]},
        {"low": 0, "high": 2, "counts": [3, 0, 0, 1]},
    )
    assert inside.rebinned([narrow, wide], 0.0, 2.0).tolist() == [[0.5, 0.5, 0, 0], [0.75, 0, 0, 0.25]]
    same = {"low": 0.5, "high": 0.5, "counts": [7, 0, 0, 0]}  # as zeros are
    assert inside.rebinned([same], 0.5, 0.5).sum() == pytest.approx(1)


def test_the_weights_of_every_layer_are_shown(run):
    looks = read_health(run.folder)
    shown = inside.weights_over_time(looks)
    assert [w["layer"] for w in shown] == [w["layer"] for w in looks[0]["weights"]]
    assert shown[0]["low"] == min(look["weights"][0]["low"] for look in looks)
    assert all(w["picture"].startswith("data:image/png") for w in shown)

"""The table of published weights against the peers that publish them."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torchvision.models as tv
from torchvision.models._meta import _IMAGENET_CATEGORIES

from striate import zoo
from striate.errors import UsageError
from striate.transfer.published import classes_of, imagenet, preprocess_of, published, table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("peer_weights", ROOT / "scripts" / "peer_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_networks_rows_are_what_torchvision_and_keras_say(script):
    rows = json.loads((ROOT / "src/striate/transfer/published.json").read_text())
    told = [*script.torchvision_rows("vgg16"), *script.keras_rows("vgg16")]
    assert [r for r in rows if r["network"] == "vgg16" and r["layout"] != "timm"] == told


@pytest.mark.slow
def test_the_table_is_what_the_peers_say(script):
    rows = json.loads((ROOT / "src/striate/transfer/published.json").read_text())
    assert rows == script.published()


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v1", "inception_v3"])
def test_order_of_layers_is_keras(name, script):
    stored = json.loads((ROOT / "src/striate/transfer/keras_order.json").read_text())
    order = script.keras_order(name)
    assert stored.get(name, sorted(order)) == order


@pytest.mark.slow
def test_orders_are_keras(script):
    assert json.loads((ROOT / "src/striate/transfer/keras_order.json").read_text()) == script.orders()


def test_classes_are_torchvisions():
    assert imagenet() == tuple(_IMAGENET_CATEGORIES) == classes_of("resnet50", 1000)
    assert classes_of("resnet50", 10) is None
    assert classes_of("resnet8", 10)[3] == "cat"


def test_every_row_can_be_fetched_and_verified():
    for row in table():
        assert row.url.startswith("https://")
        assert row.network in {card.name for card in zoo.cards()}
        stated_by_server = row.url.startswith("https://huggingface.co/")
        assert (
            stated_by_server if row.digest is None else re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{32}", row.digest)
        )


def test_weights_that_can_not_classify_are_not_offered():
    """torchvision says of `IMAGENET1K_FEATURES` that its classifier lacks values."""
    assert [row.tag for row in published("vgg16")] == ["IMAGENET1K_V1", "tv_in1k", "keras"]


TIMMS = {
    "input_size": [3, 160, 192],
    "crop_pct": 0.9,
    "interpolation": "bicubic",
    "mean": [0.5] * 3,
    "std": [0.2] * 3,
}


def beside(folder, config):
    """What MobileNet v1 of timm is fed with if this `config.json` lies beside its file."""
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return preprocess_of("mobilenet_v1", "timm", folder / "model.safetensors", {})


@pytest.mark.parametrize("config", [TIMMS, {"architecture": "x", "pretrained_cfg": TIMMS}])
def test_timms_words_beside_a_file_are_taken_height_and_width(config, tmp_path):
    prepare = beside(tmp_path, config)
    assert (prepare.size, prepare.crop_pct, prepare.interpolation) == ((160, 192), 0.9, "bicubic")
    assert (prepare.mean, prepare.std) == ((0.5,) * 3, (0.2,) * 3)


@pytest.mark.parametrize(
    "config",
    [
        "", "no json", "[" * 100_000, "null", "3", "[]", "{}",
        {"model_type": "bert"},
        {"pretrained_cfg": None},
        {"pretrained_cfg": {"input_size": 224}},
        {**TIMMS, "input_size": [224]},
        {**TIMMS, "input_size": [3, "a", "b"]},
        {k: v for k, v in TIMMS.items() if k != "mean"},
        {**TIMMS, "mean": "x"},
    ],
)  # fmt: skip
def test_a_configuration_of_somebody_elses_changes_nothing(config, tmp_path):
    assert beside(tmp_path, config) == published("mobilenet_v1")[0].preprocess


def test_words_of_timms_that_can_not_be_followed_are_told(tmp_path):
    with pytest.raises(UsageError, match=r"config\.json: interpolation 'nearest': one of ") as caught:
        beside(tmp_path, {**TIMMS, "interpolation": "nearest"})
    assert "without this file" in caught.value.hint


def test_the_default_is_torchvisions_default():
    default = tv.get_model_weights("resnet50").DEFAULT
    first = published("resnet50")[0]
    assert (first.tag, first.url) == (default.name, default.url)
    assert first.preprocess.crop_pct == pytest.approx(224 / 232, abs=1e-6)
    assert published("lenet5") == ()

"""The table of published weights against the peers that publish them."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torchvision.models as tv
from torchvision.models._meta import _IMAGENET_CATEGORIES

from striate import zoo
from striate.transfer.published import classes_of, imagenet, published, table

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


def test_the_default_is_torchvisions_default():
    default = tv.get_model_weights("resnet50").DEFAULT
    first = published("resnet50")[0]
    assert (first.tag, first.url) == (default.name, default.url)
    assert first.preprocess.crop_pct == pytest.approx(224 / 232, abs=1e-6)
    assert published("lenet5") == ()

"""golden.json against what peers and papers publish, and against a fresh measurement."""

import importlib.util
from pathlib import Path

import pytest
import torchvision.models as tv

from striate.zoo.registry import GOLDEN, golden, registered

SCRIPT = Path(__file__).parents[2] / "scripts" / "zoo_table.py"
QUICK = {"alexnet", "lenet5", "mobilenet_v2", "resnet20_cifar", "resnet50", "resnet8"}
NAMES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in registered()]

MACS = {  # worked out from the plans; each rounds to torchvision's published GMACs where it has the network
    "lenet5": 416_520,
    "alexnet": 714_188_480,
    "vgg11": 7_609_090_048,
    "vgg13": 11_308_466_176,
    "vgg16": 15_470_264_320,
    "vgg19": 19_632_062_464,
    "resnet18": 1_814_073_344,
    "resnet34": 3_663_761_408,
    "resnet50": 4_089_184_256,
    "resnet101": 7_801_405_440,
    "resnet152": 11_513_626_624,
    "densenet121": 2_834_161_664,
    "densenet161": 7_727_907_072,
    "densenet169": 3_359_843_328,
    "densenet201": 4_291_365_888,
    "squeezenet1_0": 818_924_576,
    "squeezenet1_1": 349_151_936,
    "mobilenet_v1": 568_740_352,
    "mobilenet_v2": 300_774_272,
    "resnet8": 12_501_632,
}
RECEPTIVE_FIELDS = {  # of the last map
    "lenet5": 32,
    "alexnet": 195,
    "vgg11": 150,
    "vgg13": 156,
    "vgg16": 212,
    "vgg19": 268,
    "resnet18": 435,
    "resnet34": 899,
    "resnet50": 427,
    "resnet101": 971,
    "resnet152": 1451,
    "resnet50v2": 483,
    "resnet101v2": 1027,
    "resnet152v2": 1507,
    "densenet121": 2071,
    "densenet161": 2967,
    "densenet169": 3351,
    "densenet201": 3863,
    "mobilenet_v1": 315,
    "mobilenet_v2": 491,
    "inception_v3": 1311,
    "resnet20_cifar": 81,
}


@pytest.fixture(scope="module")
def zoo_table():
    spec = importlib.util.spec_from_file_location("zoo_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", MACS)
def test_multiply_adds(name):
    assert golden()[name]["macs"] == MACS[name]


@pytest.mark.parametrize("name", RECEPTIVE_FIELDS)
def test_receptive_fields(name):
    assert golden()[name]["receptive_field"] == [RECEPTIVE_FIELDS[name]] * 2


def published_by_torchvision() -> list[str]:
    return [name for name in registered() if name in tv.list_models()]


@pytest.mark.parametrize("name", published_by_torchvision())
def test_cards_of_torchvision(name):
    """Its parameter counts, and its multiply-adds to the three decimals it gives."""
    meta, row = tv.get_model_weights(name).DEFAULT.meta, golden()[name]
    if name in ("googlenet", "inception_v3"):  # torchvision's card counts the auxiliary heads of the second
        assert abs(row["macs"] / 1e9 - meta["_ops"]) <= 5e-4
        return
    assert row["params"] == meta["num_params"]
    assert row["macs"] / 1e9 == pytest.approx(meta["_ops"], abs=5e-4)


def test_keras_counts(zoo_table):
    rows = {
        name: zoo_table.keras_count(golden()[name], keras.extra) for name, keras in zoo_table.KERAS.items()
    }
    assert rows == {name: keras.params for name, keras in zoo_table.KERAS.items()}
    assert len(rows) == 20


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_measurement_gives_the_same(name, zoo_table):
    assert zoo_table.measure(registered()[name]) == golden()[name]


def test_the_file_is_written_as_the_script_writes_it(zoo_table):
    assert GOLDEN.read_text() == zoo_table.as_json(golden())


def test_the_tables_of_the_documentation_hold_these_numbers(zoo_table):
    """All but the latencies, the last cell of the first table."""
    text = zoo_table.DOCS.read_text()
    for row in zoo_table.network_rows(golden()):
        assert row in text
    for row in zoo_table.keras_rows(golden(), dict.fromkeys(zoo_table.KERAS, 0.0)):
        assert row.rpartition("| 0 |")[0] in text

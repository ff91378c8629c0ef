"""The networks of the course notes, row by row, and the surface that scripts rely on."""

import json
import time

import pytest
import torch
import torchvision
from torch import nn

from striate.anatomy import Anatomy, anatomy


def same(c_in: int, c_out: int, k: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, k, padding="same")


def mlp() -> nn.Module:
    layers = (nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    return nn.Sequential(nn.Flatten(), *layers)


def mnist_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def mnist_cnn_of_the_notes() -> nn.Module:
    """320, 18,496, 200,768, 650."""
    return nn.Sequential(
        same(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), same(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(7 * 7 * 64, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def cifar_cnn() -> nn.Module:
    """208, 2,080, 8,256, 512,500, 5,010."""
    convolutions = [
        m for a, b in ((3, 16), (16, 32), (32, 64)) for m in (same(a, b, 2), nn.ReLU(), nn.MaxPool2d(2))
    ]
    head = (
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(1024, 500),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Linear(500, 10),
    )
    return nn.Sequential(*convolutions, *head)


NOTES = {
    "mlp": (mlp, (1, 28, 28), [401_920, 262_656, 5_130], 669_706),
    "mnist": (mnist_cnn_of_the_notes, (1, 28, 28), [320, 18_496, 200_768, 650], 220_234),
    "cifar10": (cifar_cnn, (3, 32, 32), [208, 2_080, 8_256, 512_500, 5_010], 528_054),
}


@pytest.mark.parametrize("name", NOTES)
def test_networks_of_the_notes(name: str) -> None:
    build, shape, by_layer, total = NOTES[name]
    a = anatomy(build(), shape)
    assert [row.params for row in a.rows if row.params] == by_layer
    assert a.params == total


def test_rows_by_hand() -> None:
    a = anatomy(mnist_cnn(), (1, 28, 28), batch=4)
    table = [
        (r.type, r.output, r.formula, r.macs, r.receptive_field, r.jump, r.activation_bytes) for r in a.rows
    ]
    assert table == [
        ("Conv2d", (32, 26, 26), "(3*3*1 + 1)*32", 9 * 32 * 26 * 26, (3, 3), (1, 1), 16 * 32 * 26 * 26),
        ("ReLU", (32, 26, 26), "", 0, (3, 3), (1, 1), 16 * 32 * 26 * 26),
        ("MaxPool2d", (32, 13, 13), "", 0, (4, 4), (2, 2), 16 * 32 * 13 * 13),
        ("Conv2d", (64, 11, 11), "(3*3*32 + 1)*64", 9 * 32 * 64 * 11 * 11, (8, 8), (2, 2), 16 * 64 * 11 * 11),
        ("ReLU", (64, 11, 11), "", 0, (8, 8), (2, 2), 16 * 64 * 11 * 11),
        ("MaxPool2d", (64, 5, 5), "", 0, (10, 10), (4, 4), 16 * 64 * 5 * 5),
        ("Flatten", (1600,), "", 0, (26, 26), None, 0),
        ("Linear", (128,), "(1600 + 1)*128", 1600 * 128, (26, 26), None, 16 * 128),
        ("ReLU", (128,), "", 0, (26, 26), None, 16 * 128),
        ("Linear", (10,), "(128 + 1)*10", 1280, (26, 26), None, 16 * 10),
    ]
    assert (a.receptive_field, a.jump, a.padding, a.rows[3].centre) == ((10, 10), (4, 4), (0, 0), (3.5, 3.5))


def test_json_has_the_keys_that_scripts_rely_on() -> None:
    data = json.loads(json.dumps(anatomy(nn.Sequential(nn.Conv2d(3, 8, (3, 5))), (3, 32, 32)).to_json()))
    assert data.keys() >= {
        "params",
        "trainable",
        "macs",
        "receptive_field",
        "activation_bytes",
        "rows",
        "advice",
    }
    assert data["receptive_field"] == [3, 5]
    assert data["rows"][0].keys() >= {"name", "type", "output", "params", "macs", "receptive_field", "jump"}
    assert data["rows"][0]["jump"] == 1
    assert data["rows"][0]["output"] == [8, 30, 28]


def test_frozen_parameters_are_not_trainable() -> None:
    net = mnist_cnn()
    net[0].requires_grad_(False)
    a = anatomy(net, (1, 28, 28))
    assert a.params - a.trainable == 320
    assert a.rows[0].trainable == 0


def test_the_headline_field_of_a_network_without_windows_is_the_image() -> None:
    assert anatomy(mlp(), (1, 28, 28)).receptive_field == (28, 28)
    assert anatomy(nn.Linear(8, 2), (8,)).receptive_field is None


def test_in_place_work_and_views_take_no_memory() -> None:
    a = anatomy(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout()), (4, 8, 8))
    assert a.activation_bytes == 0


def test_half_precision_networks_take_half_the_memory() -> None:
    full, half = anatomy(mnist_cnn(), (1, 28, 28)), anatomy(mnist_cnn().half(), (1, 28, 28))
    assert (2 * half.activation_bytes, 2 * half.disk_bytes) == (full.activation_bytes, full.disk_bytes)


def test_a_transformer_has_no_local_field_and_says_why() -> None:
    with torch.device("meta"):
        net = torchvision.models.vit_b_32()
    a = anatomy(net, (3, 224, 224))
    assert a.receptive_field is None
    assert a.refused == "positions are joined or split at reshape"


def test_resnet50_takes_less_than_a_second() -> None:
    with torch.device("meta"):
        net = torchvision.models.resnet50()
    start = time.process_time()
    anatomy(net, (3, 224, 224)).to_json()
    assert time.process_time() - start < 1


def test_a_thousand_layers() -> None:
    net = nn.Sequential(*(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(500)))
    a: Anatomy = anatomy(net, (8, 32, 32))
    assert (a.receptive_field, len(a.rows)) == ((1001, 1001), 1000)
    assert [advice.rule for advice in a.advice] == ["depth-without-skips"]

"""What holds for every transform: type, shape, determinism, round trip, errors that name the field."""

import dataclasses

import pytest
import torch

from striate.data.augment import PRESETS, Augmentation, Draw, Transform
from striate.errors import UsageError

NAMES = sorted(Transform.registry)


def batch(dtype: torch.dtype = torch.uint8, n: int = 16, c: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, c, 12, 14), generator=g).to(dtype), torch.arange(n) % 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_keeps_type_and_shape_and_follows_the_generator(name: str, dtype: torch.dtype, channels: int) -> None:
    images, labels = batch(dtype, c=channels)
    before = images.clone()
    spec = {"name": "affine", "rotation": 20, "zoom": [0.8, 1.2]} if name == "affine" else name
    augment = Augmentation.of([spec], num_classes=5)
    outs = [augment(images, labels, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    (a, la), (b, lb), (c, _) = outs
    assert a.dtype == dtype
    assert a.shape == images.shape
    assert torch.equal(a, b)
    assert torch.equal(la, lb)
    assert torch.equal(images, before)  # the data set's own pixels
    assert not torch.equal(a, c) or (name == "saturation" and channels == 1)
    assert a.float().min() >= 0
    assert a.float().max() <= 255.001
    assert la.shape == ((16, 5) if augment.mixes else (16,))


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_through_a_recipe(name: str) -> None:
    transform = Transform.from_dict(name)
    assert Transform.from_dict(transform.to_dict()) == transform
    assert transform.to_dict()["name"] == name


@pytest.mark.parametrize("name", NAMES)
def test_numbers_out_of_range_are_refused_by_name(name: str) -> None:
    for field in dataclasses.fields(Transform.registry[name]):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=field.name):
            Transform.from_dict({"name": name, field.name: "x" if field.type in (str, "str") else -1e9})


def test_presets_run() -> None:
    for name in PRESETS:
        images, labels = batch()
        out, same = Augmentation.of(name)(images, labels, torch.Generator())
        assert out.shape == images.shape
        assert same is labels
    assert Augmentation.of("none")(images, labels, torch.Generator())[0] is images
    assert Augmentation.of(None).to_list() == []


def test_list_of_a_recipe() -> None:
    spec = [{"name": "random_crop", "padding": 2, "fill": "reflect"}, "horizontal_flip"]
    augment = Augmentation.of(spec)
    assert augment.to_list() == [
        {"name": "random_crop", "padding": 2, "fill": "reflect"},
        {"name": "horizontal_flip", "p": 0.5},
    ]
    assert Augmentation.of(augment.to_list()) == augment


def test_wrong_names_get_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown augmentation 'horizontal_flop'") as e:
        Augmentation.of(["horizontal_flop"])
    assert "horizontal_flip" in e.value.hint
    with pytest.raises(UsageError, match="random_crop has no field 'pading'") as e:
        Augmentation.of([{"name": "random_crop", "pading": 3}])
    assert "padding" in e.value.hint
    with pytest.raises(UsageError, match="unknown augmentation 'cifer'") as e:
        Augmentation.of("cifer")
    assert "cifar" in e.value.hint
    with pytest.raises(UsageError, match="num_classes"):
        Augmentation.of(["mixup"])


def test_draws_are_the_same_whatever_was_drawn_on() -> None:
    a, b = (Draw(torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a.uniform(-1, 3, 50), b.uniform(-1, 3, 50))
    assert a.beta(0.3) == b.beta(0.3)
    numbers = a.integers(2, 5, 1000)
    assert numbers.unique().tolist() == [2, 3, 4]
    assert a.flags(0.25, 4000).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert sorted(a.permutation(9).tolist()) == list(range(9))

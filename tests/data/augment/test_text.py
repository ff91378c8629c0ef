"""Augmentations as people type them."""

import dataclasses
import re
from pathlib import Path

import pytest

from striate.data.augment import (
    PRESETS,
    Affine,
    AlternatingFlip,
    Brightness,
    Cutmix,
    HorizontalFlip,
    Mixup,
    RandomCrop,
    RandomErasing,
    Transform,
    spell,
    transforms_of,
)
from striate.errors import UsageError


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("none", ()),
        ("shift-flip", PRESETS["shift-flip"]),
        ("alternating_flip", (AlternatingFlip(),)),
        ("alternating-flip", (AlternatingFlip(),)),
        ("random_crop(4, reflect), mixup(alpha=0.4)", (RandomCrop(4, "reflect"), Mixup(0.4))),
        ("brightness((0.5, 1.5)),cutmix", (Brightness((0.5, 1.5)), Cutmix())),
        ("random_erasing(p=1, value=noise)", (RandomErasing(1, value="noise"),)),
        ("random_erasing(value='noise', scale=[0.1, 0.2])", (RandomErasing(scale=(0.1, 0.2)),)),
        ("cifar, cutmix", (*PRESETS["cifar"], Cutmix())),
        ("affine(rotation=10, fill=wrap)", (Affine(10, fill="wrap"),)),
    ],
)
def test_text_means(text: str, meant: tuple[Transform, ...]) -> None:
    assert transforms_of(text) == meant
    assert transforms_of(spell(meant)) == meant


def test_every_transform_and_every_preset_reads_back() -> None:
    for name in Transform.registry:
        assert spell(transforms_of(name)) == name
    for transforms in PRESETS.values():
        assert transforms_of(spell(transforms)) == transforms


def test_the_list_of_a_yaml_file_means_the_same() -> None:
    listed = [{"name": "random_crop", "padding": 4, "fill": "reflect"}, "horizontal_flip", {"name": "cutmix"}]
    assert transforms_of(listed) == transforms_of("random_crop(4, reflect), horizontal_flip, cutmix")
    assert transforms_of(["shift-flip", HorizontalFlip(1.0)]) == (*PRESETS["shift-flip"], HorizontalFlip(1.0))
    assert spell(transforms_of(listed)) == "random_crop(fill=reflect), horizontal_flip, cutmix"


@pytest.mark.parametrize(
    ("spec", "cause", "hint"),
    [
        ("shfit", "unknown augmentation 'shfit'", "did you mean shift"),
        ("mixupp(0.2)", "unknown augmentation 'mixupp'", "did you mean mixup"),
        ("mixup(alhpa=1)", "mixup has no field 'alhpa'", "did you mean alpha"),
        ("mixup(0.2, 1, 2)", "mixup takes 2 values, got 3", ""),
        ("mixup(0)", "alpha 0", ""),
        ("mixup(alpha=big)", "alpha 'big'", ""),
        ("shift-flip(3)", "unknown augmentation 'shift_flip'", "shift-flip"),
        ("mixup +", "can't read the augmentation", "random_crop(4, reflect)"),
        ("", "can't read the augmentation", ""),
        ("mixup(__import__('os'))", "can't read the augmentation", ""),
        ("mixup.__class__", "can't read the augmentation", ""),
        ("mixup(**{})", "can't read the augmentation", ""),
        ("[" * 100_000, "can't read the augmentation", ""),
        ([3], "unknown augmentation 3", ""),
        ([{"alpha": 3}], "unknown augmentation None", ""),
        (3, "expected text or a list", ""),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(spec: object, cause: str, hint: str) -> None:
    with pytest.raises(UsageError) as e:
        transforms_of(spec)  # type: ignore[arg-type]
    assert cause in str(e.value)
    assert hint in e.value.hint
    assert "\n" not in str(e.value)


def test_the_page_on_data_names_every_preset_and_every_transform_with_its_fields() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, transform in Transform.registry.items():
        row = next((r for r in rows if f"`{name}" in r.split("|")[1]), "")
        fields = [f.name for f in dataclasses.fields(transform)]  # type: ignore[arg-type]
        missing = [f for f in fields if not re.search(rf"\b{f}\b", row.split("|")[1])] if row else fields
        assert row, f"{name} has no row"
        assert not missing, f"{name}: {missing} not described"
    assert all(f"`{preset}`" in page for preset in PRESETS)

"""Every operation against torchvision's."""

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data.augment import Draw, RandAugment
from striate.data.augment.randaugment import OPERATIONS

RNG = np.random.default_rng(0)
SMOOTH = np.stack([
    np.asarray(Image.fromarray(RNG.integers(0, 256, (5, 6, 3), np.uint8)).resize((48, 40), Image.Resampling.BICUBIC))
    for _ in range(6)
])  # fmt: skip
PHOTOS = torch.from_numpy(SMOOTH).permute(0, 3, 1, 2).contiguous()
HOW = RandAugment(fill="constant", cval=0)


def torchvision_of(name: str, images: torch.Tensor, s: float) -> torch.Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as V

    bilinear = InterpolationMode.BILINEAR
    h, w = images.shape[2:]
    no = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], "interpolation": bilinear}
    corner = {"center": [0.0, 0.0]}
    return {
        "identity": lambda: images,
        "shear_x": lambda: V.affine(images, **(no | {"shear": [np.degrees(np.arctan(0.3 * s)), 0.0]})),
        "shear_y": lambda: V.affine(images, **(no | {"shear": [0.0, np.degrees(np.arctan(0.3 * s))]})),
        "translate_x": lambda: V.affine(
            images, **(no | corner | {"translate": [-int(150 / 331 * w * s), 0]})
        ),
        "translate_y": lambda: V.affine(
            images, **(no | corner | {"translate": [0, -int(150 / 331 * h * s)]})
        ),
        "rotate": lambda: V.rotate(images, 30 * s, interpolation=bilinear),
        "brightness": lambda: V.adjust_brightness(images, 1 + 0.9 * s),
        "colour": lambda: V.adjust_saturation(images, 1 + 0.9 * s),
        "contrast": lambda: V.adjust_contrast(images, 1 + 0.9 * s),
        "sharpness": lambda: V.adjust_sharpness(images, 1 + 0.9 * s),
        "posterize": lambda: V.posterize(images, 8 - round(4 * abs(s))),
        "solarize": lambda: V.solarize(images, 255 * (1 - abs(s))),
        "auto_contrast": lambda: V.autocontrast(images),
        "equalize": lambda: V.equalize(images),
    }[name]()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.0, 0.5, 1.0])
def test_same_as_torchvision(name: str, strength: float) -> None:
    ours = OPERATIONS[name](PHOTOS, torch.full((6,), strength), HOW).int()
    theirs = torchvision_of(name, PHOTOS, strength).int()
    if name in ("rotate", "shear_x", "shear_y"):  # at the rim of the picture theirs is a blend with the fill
        known = (OPERATIONS[name](torch.full_like(PHOTOS, 255), torch.full((6,), strength), HOW) == 255) & (
            torchvision_of(name, torch.full_like(PHOTOS, 255), strength) == 255
        )
        assert known.float().mean() > 0.6
        ours, theirs = ours * known, theirs * known
    assert (ours - theirs).abs().max() <= 2


def test_images_draw_their_own_operations() -> None:
    same = PHOTOS[:1].repeat(60, 1, 1, 1)
    out, _ = RandAugment(1, 15)(same, torch.zeros(60), Draw(torch.Generator().manual_seed(0)))
    assert len({o.numpy().tobytes() for o in out}) >= 14


def test_strength_zero_moves_nothing() -> None:
    for name, operation in OPERATIONS.items():
        if name not in ("auto_contrast", "equalize", "solarize"):
            assert (operation(PHOTOS, torch.zeros(6), HOW).int() - PHOTOS.int()).abs().max() <= 1, name


def test_constant_channels_and_tiny_images_survive() -> None:
    flat = torch.full((4, 3, 2, 2), 77, dtype=torch.uint8)
    for name, operation in OPERATIONS.items():
        out = operation(flat, torch.full((4,), 0.1), RandAugment())
        assert out.shape == flat.shape, name
    assert torch.equal(OPERATIONS["auto_contrast"](flat, torch.ones(4), HOW), flat)
    assert torch.equal(OPERATIONS["equalize"](flat, torch.ones(4), HOW), flat)

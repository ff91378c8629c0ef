"""Mixed labels say how much of each picture there is; erased boxes have the size they should."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from striate.data.augment import Augmentation, Cutmix, Cutout, Draw, Mixup, RandomErasing

N = 30


def draw(seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed))


def solid() -> tuple[torch.Tensor, torch.Tensor]:
    """Image i is all of value i and of class i."""
    return torch.arange(N, dtype=torch.float32).view(N, 1, 1, 1).expand(N, 3, 20, 24).contiguous(), F.one_hot(
        torch.arange(N)
    ).float()


@pytest.mark.parametrize("transform", [Mixup(1.0), Cutmix(1.0), Mixup(0.2), Cutmix(0.3)])
@pytest.mark.parametrize("seed", range(5))
def test_labels_are_the_shares_of_the_pixels(transform, seed: int) -> None:
    images, labels = solid()
    out, mixed = transform(images, labels, draw(seed))
    assert torch.allclose(mixed.sum(1), torch.ones(N), atol=1e-5)
    expected = (mixed * torch.arange(N)).sum(1)  # the mean value, as solid images tell
    assert torch.allclose(out.mean((1, 2, 3)), expected, atol=1e-3)


def test_cutmix_is_a_rectangle_of_the_other_image() -> None:
    images, labels = solid()
    out, _ = Cutmix(1.0)(images, labels, draw(1))
    for i in range(N):
        other = out[i, 0] != i
        rows, columns = other.any(1), other.any(0)
        assert torch.equal(other, rows[:, None] & columns[None])
        assert len(out[i].unique()) <= 2


def test_probability_of_mixing() -> None:
    images, labels = solid()
    mixed = [not torch.equal(Mixup(1.0, p=0.3)(images, labels, draw(s))[0], images) for s in range(200)]
    assert 35 <= sum(mixed) <= 85


def test_class_numbers_become_shares() -> None:
    images = torch.randint(0, 256, (N, 3, 8, 8), dtype=torch.uint8)
    _, labels = Augmentation.of(["mixup"], num_classes=7)(
        images, torch.arange(N) % 7, torch.Generator().manual_seed(0)
    )
    assert labels.shape == (N, 7)
    assert torch.allclose(labels.sum(1), torch.ones(N))
    several = (torch.rand(N, 4) > 0.5).float()
    _, labels = Augmentation.of(["cutmix"], num_classes=4)(images, several, torch.Generator().manual_seed(0))
    assert ((labels >= 0) & (labels <= 1)).all()


def test_erased_boxes() -> None:
    images = torch.full((500, 3, 40, 40), 7.0)
    out, _ = RandomErasing(1.0, (0.1, 0.3), (0.5, 2.0), value=99.0)(images, torch.zeros(500), draw())
    for image in out:
        box = image[0] == 99
        assert (image == torch.where(box, 99.0, 7.0)).all()
        rows, columns = box.any(1), box.any(0)
        assert torch.equal(box, rows[:, None] & columns[None])
        assert 0.08 <= box.float().mean() <= 0.33
    kept, _ = RandomErasing(0.25)(images, torch.zeros(500), draw())
    assert 80 <= sum(not torch.equal(a, b) for a, b in zip(kept, images, strict=True)) <= 170


def test_noise_is_noise() -> None:
    images = torch.full((20, 3, 30, 30), 128, dtype=torch.uint8)
    out, _ = RandomErasing(1.0, (0.3, 0.3))(images, torch.zeros(20), draw())
    values = out[out != 128].float()
    assert values.mean().item() == pytest.approx(127.5, abs=5)
    assert values.std().item() == pytest.approx(np.sqrt((256**2 - 1) / 12), abs=5)


def test_cutout_is_a_black_square() -> None:
    images = torch.full((300, 1, 16, 16), 50, dtype=torch.uint8)
    out, _ = Cutout(6)(images, torch.zeros(300), draw())
    areas = (out == 0).sum((1, 2, 3))
    assert areas.max() == 36
    assert 9 <= areas.min() < 36

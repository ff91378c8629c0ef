"""Random moves against plain slicing."""

import torch

from striate.train.augment import MOVES


def all_moves(x, reach):
    """Every shift of x by up to `reach`, edge repeated, by padding and slicing."""
    h, w = x.shape[1:]
    padded = torch.nn.functional.pad(x[None].double(), (reach,) * 4, mode="replicate")[0].to(x.dtype)
    return [padded[:, i : i + h, j : j + w] for i in range(2 * reach + 1) for j in range(2 * reach + 1)]


def test_shift_gives_only_shifts_of_the_image_and_in_time_all_of_them():
    x = torch.randint(0, 256, (1, 3, 28, 20), dtype=torch.uint8)
    allowed = {s.numpy().tobytes() for s in all_moves(x[0], 2)}  # 0.07 * 28 = 2 rows
    moved = MOVES["shift"](x.expand(400, -1, -1, -1), torch.Generator().manual_seed(0))
    seen = {m.numpy().tobytes() for m in moved}
    assert seen <= allowed
    assert len(seen) == 5 * 3  # 5 row offsets of 28 px, 3 column offsets of 20 px (round(1.4) = 1)


def test_flip_mirrors_about_half():
    x = torch.arange(28, dtype=torch.uint8).repeat(1000, 1, 28, 1)
    moved = MOVES["shift-flip"](x, torch.Generator().manual_seed(0))
    falling = (moved[:, 0, 14, 5] > moved[:, 0, 14, 20]).float().mean()
    assert 0.45 < falling < 0.55


def test_the_generator_decides():
    x = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8)
    first = MOVES["shift"](x, torch.Generator().manual_seed(7))
    assert torch.equal(first, MOVES["shift"](x, torch.Generator().manual_seed(7)))
    assert not torch.equal(first, MOVES["shift"](x, torch.Generator().manual_seed(8)))

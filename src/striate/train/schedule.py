"""Learning rate and image size as functions of the share of the run that is done: nothing to save or restore."""

from math import cos, pi

FLOOR = 0.01  # of the peak: where one-cycle ends
GROWN = 0.75  # of the run: from there on images have their full size
SIZES = 8  # images grow by an eighth of the full size: a handful of shapes, each for many steps
RULES = r"^\d+:[\d.eE+-]+(,\d+:[\d.eE+-]+)*$"  # epoch:share,epoch:share


def factor(name: str, done: float, warmup: float = 0.2, epoch: int = 1, least: float = 0.0) -> float:
    """The learning rate as a share of its peak when `done` (0 to 1) of the run is behind, in epoch `epoch`.

    constant, plateau: 1. step: 1, then 0.1 from one half and 0.01 from three quarters. cosine: linear warm-up, then
    half a cosine down to `least`. one-cycle: linear climb, then linear fall to `least`, or 1 % where that is 0
    (Smith, 2018, arXiv:1803.09820, section 4). Rules as `10:0.1,20:0.01`: 1, then 0.1 from the start of epoch 10 and
    0.01 from that of epoch 20.
    """
    if name in ("constant", "plateau"):
        return 1.0
    if ":" in name:
        begun = [(e, share) for e, share in rules(name) if e <= epoch]
        return max(begun)[1] if begun else 1.0
    if name == "step":
        return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
    if done < warmup:
        return max(done / warmup, FLOOR)
    fall = (done - warmup) / (1 - warmup)
    if name == "cosine":
        return least + (1 - least) * 0.5 * (1 + cos(pi * fall))
    return 1 - (1 - (least or FLOOR)) * fall


def rules(text: str) -> list[tuple[int, float]]:
    """`10:0.1,20:0.01` -> [(10, 0.1), (20, 0.01)]; ValueError for what isn't a number or lies out of range."""
    pairs = [rule.split(":") for rule in text.split(",")]
    found = [(int(epoch), float(share)) for epoch, share in pairs]
    if not all(epoch >= 1 and 0 <= share <= 100 for epoch, share in found):
        raise ValueError(f"epochs count from 1 and shares lie between 0 and 100, got {text}")
    if len(dict(found)) < len(found):
        raise ValueError(f"an epoch is named twice in {text}")
    return found


def grown(size: tuple[int, int], first: float, done: float) -> tuple[int, int]:
    """Height and width of training images when `done` of the run is behind: from `first` of the full ones to all."""
    share = first + (1 - first) * min(1.0, done / GROWN)
    share = max(first, int(SIZES * share) / SIZES)
    return max(1, round(share * size[0])), max(1, round(share * size[1]))

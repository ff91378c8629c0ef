"""Learning-rate schedules as functions of the share of the run that is done: nothing to save, nothing to restore."""

from math import cos, pi

FLOOR = 0.01  # of the peak: where one-cycle ends


def factor(name: str, done: float, warmup: float = 0.2) -> float:
    """The learning rate as a share of its peak when `done` (0 to 1) of the run is behind.

    constant: 1. step: 1, then 0.1 from one half and 0.01 from three quarters. cosine: linear warm-up, then half a
    cosine down to 0. one-cycle: linear climb, then linear fall to 1 % (Smith, 2018, arXiv:1803.09820, section 4).
    """
    if name == "constant":
        return 1.0
    if name == "step":
        return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
    if done < warmup:
        return max(done / warmup, FLOOR)
    fall = (done - warmup) / (1 - warmup)
    if name == "cosine":
        return 0.5 * (1 + cos(pi * fall))
    return 1 - (1 - FLOOR) * fall

"""The stopwatch of training: counted steps, and figures that follow from one another."""

import pytest
from torch import nn

from striate.train.speed import training_speed


class Counted(nn.Sequential):
    """Counts the training batches that pass."""

    seen = 0

    def forward(self, x):
        if self.training:
            Counted.seen += len(x)
        return super().forward(x)


def test_rates_follow_from_the_steps_made() -> None:
    Counted.seen = 0
    net = Counted(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    macs = 9 * 4 * 36 + 4 * 36 * 10
    speed = training_speed(net, (1, 8, 8), macs, batch_size=16, seconds=0.3, precision="fp32")
    images = Counted.seen - 3 * 16  # the first three steps warm up
    elapsed = images / 16 * speed.step_seconds
    assert 0.3 <= elapsed < 1.0
    assert speed.images_per_second == pytest.approx(images / elapsed)
    assert speed.macs_per_second == pytest.approx(3 * macs * speed.images_per_second)
    assert speed.share == pytest.approx(speed.macs_per_second / speed.limit)
    assert 0 < speed.share < 1
    assert (speed.device.partition(":")[0] in ("cpu", "cuda", "mps"), speed.precision) == (True, "float32")

"""Mean and standard deviation per channel, on the 0..1 scale, of the training images only."""

import numpy as np
import torch

from striate.data.images import ArrayImages, Images

SAMPLE = 1000  # images that are decoded for the estimate; arrays are counted whole
STEP = 256


def channel_statistics(images: Images, seed: int = 0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """mean = E[x], std = sqrt(E[x^2] - E[x]^2) with x = pixel / 255."""
    n = len(images)
    if images.in_memory or n <= SAMPLE:
        rows = np.arange(n)
    else:
        rows = np.sort(np.random.default_rng([seed, 0x57A7]).choice(n, SAMPLE, replace=False))
    total = square = np.zeros(images.shape[0])
    pixels = 0
    for i in range(0, len(rows), STEP):
        whole = isinstance(images, ArrayImages)
        batch = images.pixels[i : i + STEP] if whole else images.read(rows[i : i + STEP])  # type: ignore[attr-defined]
        x = batch.flatten(2).to(torch.float32)
        total = total + x.sum((0, 2), dtype=torch.float64).numpy()
        square = square + x.square_().sum((0, 2), dtype=torch.float64).numpy()
        pixels += x.shape[0] * x.shape[2]
    mean = total / pixels
    std = np.sqrt(np.maximum(square / pixels - mean**2, 1.0))  # never under one grey level
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())

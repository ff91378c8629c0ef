"""From raw pixels to what the network sees, inside the exported file.

Runtimes disagree about resizing with antialiasing: on the operator, its rounding, and whether they have it. Here it is
two matrix products of whole numbers, which all of them have, and it gives the pixels that training gave.
"""

import copy

import torch
from torch import Tensor, nn

from striate.data import Preprocess
from striate.data.preprocess import TIE
from striate.train.checkpoint import Model
from striate.train.losses import to_probabilities

WEIGHT_LIMIT = 32767.5  # torch's kernel for 8-bit pixels rounds its weights to 16-bit integers
MAX_SHIFT = 22


class Classifier(nn.Module):
    """Raw pixels to probabilities, on the CPU and for inference.    uint8 (n, h, w, c) -> float32 (n, k)"""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.fit = Fit(model.preprocess)
        self.answer = Answer(model)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(self.fit(images))


class Answer(nn.Module):
    """Pixels of the right size to probabilities.    (n, c, h, w) on 0..255 -> float32 (n, k)"""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.module).cpu()
        self.several = model.several
        scale = 1 / (255 * torch.tensor(model.preprocess.std))
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("shift", (-torch.tensor(model.preprocess.mean) * 255 * scale).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return to_probabilities(self.network(pixels.float() * self.scale + self.shift), self.several)


class Fit(nn.Module):
    """`Preprocess.fit` of elementary operators.    uint8 (n, h, w, c) -> whole numbers 0..255 (n, c, *size)"""

    powers: Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.size, self.mode, self.crop_pct = preprocess.size, preprocess.resize, preprocess.crop_pct
        self.reach, self.kernel, self.kind = KERNELS[preprocess.interpolation]
        self.register_buffer("powers", 2.0 ** torch.arange(1, MAX_SHIFT + 1))

    def forward(self, images: Tensor) -> Tensor:
        h, w = images.shape[1:3]
        rows, columns = self._spans(h, w)
        x = images.permute(0, 3, 1, 2).float()  # (n, c, h, w)
        x = _weighted(x, self._weights(w, self.size[1], columns))  # (n, c, h, tw)
        return _weighted(x.mT, self._weights(h, self.size[0], rows)).mT  # (n, c, th, tw)

    def _spans(self, h: int, w: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Of rows and of columns: first and number taken of the source, first and number filled of ours."""
        high, wide, t, u, zero = (_scalar(n) for n in (h, w, *self.size, 0))
        if self.mode == "crop":
            scale = torch.minimum(high / t, wide / u) * self.crop_pct
            ch = torch.minimum(high, _near(t * scale))
            cw = torch.minimum(wide, _near(u * scale))
            return (torch.floor((high - ch) / 2), ch, zero, t), (torch.floor((wide - cw) / 2), cw, zero, u)
        if self.mode == "pad":
            scale = torch.minimum(t / high, u / wide)
            ih = torch.minimum(t, _near(high * scale))
            iw = torch.minimum(u, _near(wide * scale))
            return (zero, high, torch.floor((t - ih) / 2), ih), (zero, wide, torch.floor((u - iw) / 2), iw)
        return (zero, high, zero, t), (zero, wide, zero, u)

    def _weights(self, source: int, target: int, span: tuple[Tensor, ...]) -> Tensor:
        """What each pixel of ours takes of each of the source, rounded as in training.    (target, source)

        Rows of a black bar are zero.
        """
        first, taken, start, filled = (s.to(self.kind) for s in span)
        j = torch.arange(source).to(self.kind) - first
        i = torch.arange(target).to(self.kind)[:, None] - start
        distance = torch.abs((2 * j + 1) * filled - (2 * i + 1) * taken)  # whole numbers: float32 holds them
        one = 2 * torch.maximum(taken, filled)
        used = (j >= 0) & (j < taken) & (i >= 0) & (i < filled) & (distance < self.reach * one)
        height = torch.where(used, self.kernel(distance, one), 0.0)
        total = torch.where(used.any(1, keepdim=True), height.sum(1, keepdim=True), 1.0)
        unit = torch.where((height / total).max() * self.powers < WEIGHT_LIMIT, self.powers, 1.0).max()
        return (torch.sign(height) * _nearest(torch.abs(height) * unit, total) / unit).float()


def _triangle(x: Tensor, one: Tensor) -> Tensor:
    return one - x


def _cubic(x: Tensor, one: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2."""
    x = x / one
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, far)


KERNELS = {  # how far each reaches; its height, to any scale; the arithmetic that gives training's weights
    "bilinear": (1, _triangle, torch.float32),
    "bicubic": (2, _cubic, torch.float64),
}


def _nearest(n: Tensor, d: Tensor) -> Tensor:
    """n / d, rounded, without the rounding of the division: of whole numbers in float32, exactly."""
    q = torch.floor(n / d)
    high = torch.floor(q / 256) * 256
    rest = (n - high * d) - (q - high) * d
    return q + torch.where(2 * rest >= d, 1.0, 0.0)


def _weighted(x: Tensor, weights: Tensor) -> Tensor:
    """Sums over the last axis, rounded and cut to 0..255, as training does after each of its two passes.

    Eight bits by up to 22 don't fit in the 24 of float32: the high part of the weights is summed apart from the low.
    """
    high = torch.round(weights * 256) / 256
    above, below = x @ high.T, x @ (weights - high).T
    whole = torch.floor(above)
    return torch.clamp(whole + torch.floor(above - whole + below + 0.5), 0, 255)


def _near(x: Tensor) -> Tensor:
    return torch.clamp(torch.floor(x + TIE), min=1)


def _scalar(n: int) -> Tensor:
    return torch.scalar_tensor(n, dtype=torch.float32)

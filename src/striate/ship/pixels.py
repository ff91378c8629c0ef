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
        self.reach, self.kernel = KERNELS[preprocess.interpolation]
        self.register_buffer("powers", 2.0 ** torch.arange(1, MAX_SHIFT + 1))

    def forward(self, images: Tensor) -> Tensor:
        h, w = images.shape[1:3]
        rows, columns = self._spans(h, w)
        x = images.permute(0, 3, 1, 2).float()  # (n, c, h, w)
        x = _eight_bits(x @ self._weights(w, self.size[1], columns).T)  # (n, c, h, tw)
        return _eight_bits(self._weights(h, self.size[0], rows) @ x)  # (n, c, th, tw)

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

        Distances are whole numbers over a common one, so that float32 holds them; rows of a black bar are zero.
        """
        first, taken, start, filled = span
        j = torch.arange(source).float() - first
        i = torch.arange(target).float()[:, None] - start
        distance = torch.abs((2 * j + 1) * filled - (2 * i + 1) * taken)
        one = 2 * torch.maximum(taken, filled)
        used = (j >= 0) & (j < taken) & (i >= 0) & (i < filled) & (distance < self.reach * one)
        share = torch.where(used, self.kernel(distance / one), 0.0)
        share = share / torch.where(used.any(1, keepdim=True), share.sum(1, keepdim=True), 1.0)
        unit = torch.where(share.max() * self.powers < WEIGHT_LIMIT, self.powers, 1.0).max()
        return torch.sign(share) * torch.floor(torch.abs(share) * unit + 0.5) / unit


def _triangle(x: Tensor) -> Tensor:
    return 1 - x


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, far)


KERNELS = {"bilinear": (1, _triangle), "bicubic": (2, _cubic)}  # how far each reaches, and its height there


def _near(x: Tensor) -> Tensor:
    return torch.clamp(torch.floor(x + TIE), min=1)


def _eight_bits(x: Tensor) -> Tensor:
    """Rounded and cut to 0..255, as after each of the two passes over an 8-bit image."""
    return torch.clamp(torch.floor(x + 0.5), 0, 255)


def _scalar(n: int) -> Tensor:
    return torch.scalar_tensor(n, dtype=torch.float32)

"""Dropout as the engine runs it on a CPU: 16 random bits a number, where torch draws a number of its own for each."""

import torch
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """x * keep / P(keep), keep = 0 with the multiple of 2^-16 nearest to p.    (...) -> (...)

    Srivastava et al., 2014, JMLR 15, section 10, scaled while training; the scale is exact for the rounded p. A p that
    rounds to 0 or 1, and other devices, are left to torch.
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * LEVELS)
        if not self.training or x.device.type != "cpu" or dropped in (0, LEVELS):
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        strides = torch.empty_like(x).stride()  # channels last, if x is
        keep = words.view(torch.int16).as_strided(x.shape, strides) >= dropped - LEVELS // 2
        return x * keep.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))

"""Inverted residual, linear at its end.  Sandler et al., 2018, arXiv:1801.04381, section 3.3, Fig. 3 (b)."""

from typing import Literal

from torch import Tensor, nn

from striate.layers.chain import chain
from striate.layers.conv import Conv2d
from striate.layers.residual import Norm


class InvertedResidual(nn.Module):
    """f(x), plus x where the shapes agree; f = 1x1 to expand * c_in, depthwise 3x3, 1x1 to c_out.

    (n, c_in, h, w) -> (n, c_out, h / s, w / s).  ReLU6 follows all but the last norm; `expand` 1 leaves the
    first 1x1 out.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        stride: int = 1,
        expand: int = 6,
        padding: int | Literal["same"] = 1,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        wide = expand * c_in
        self.body = chain()
        if expand != 1:
            self.body.append(conv_bn_relu6(c_in, wide, 1, padding=0, norm=norm))
        self.body.append(conv_bn_relu6(wide, wide, 3, stride, padding, groups=wide, norm=norm))
        self.body.append(chain(conv=nn.Conv2d(wide, c_out, 1, bias=False), bn=norm(c_out)))
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def conv_bn_relu6(
    c_in: int,
    c_out: int,
    kernel_size: int,
    stride: int = 1,
    padding: int | Literal["same"] = 1,
    *,
    groups: int = 1,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """min(relu(bn(w * x)), 6).    (n, c_in, h, w) -> (n, c_out, h / s, w / s)"""
    conv = Conv2d if padding == "same" else nn.Conv2d  # TensorFlow's SAME is asymmetric at stride 2
    return chain(
        conv=conv(c_in, c_out, kernel_size, stride, padding, groups=groups, bias=False),
        bn=norm(c_out),
        relu=nn.ReLU6(),
    )

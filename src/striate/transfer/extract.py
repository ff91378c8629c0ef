"""The frozen base as this machine runs it fastest: through OpenVINO on a CPU where that is installed, else torch."""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from striate.transfer.parts import fused

BATCH = 32
MANY = 256  # images that make up for the seconds in which OpenVINO gets ready
Extract = Callable[[Tensor], Tensor]  # uint8 (n, c, h, w), n <= BATCH -> float32 (n, d) or (n, d, h', w')


def extractor(
    base: nn.Module,
    prepare: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int],
    dtype: torch.dtype = torch.float32,
    count: int = MANY,
) -> Extract:
    """`base` after `prepare`, which standardises uint8 pixels, for `count` images of `shape`, computing in `dtype`."""
    device = next(base.parameters()).device
    if device.type == "cpu" and count >= MANY and importlib.util.find_spec("openvino"):
        return _openvino(base, prepare, shape, dtype)
    fast = fused(base)

    def run(images: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return fast(prepare(images)).float().cpu().contiguous()

    return run


def _openvino(
    base: nn.Module, prepare: Callable[[Tensor], Tensor], shape: tuple[int, int, int], dtype: torch.dtype
) -> Extract:
    import openvino

    with warnings.catch_warnings():  # the sizes that tracing freezes are those of `shape`, on purpose
        warnings.simplefilter("ignore")
        traced: Any = openvino.convert_model(
            fused(base), example_input=torch.zeros(1, *shape), input=[BATCH, *shape]
        )
    settings = {
        "INFERENCE_PRECISION_HINT": "f32" if dtype == torch.float32 else "bf16",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(traced, "CPU", settings).create_infer_request()
    x = torch.zeros(BATCH, *shape)

    def run(images: Tensor) -> Tensor:
        x[: len(images)] = prepare(images)
        request.infer([x.numpy()], share_inputs=True)
        return torch.from_numpy(request.get_output_tensor().data[: len(images)].copy())

    return run

"""Explaining beside running: Grad-CAM, occlusion, the top-9 search and the report, as ratios of one run.

    python benchmarks/explain.py                 # all four
    python benchmarks/explain.py --only grad-cam occlusion --seconds 5

grad-cam: ResNet-50 at 224x224, batch 8: time of a map / time of a forward pass in inference mode (goal: at most 3).
occlusion: our batched map / the loop that covers one square at a time (goal: at least 5 times faster).
top-9: the search over 10,000 images, every channel of the last layer / plain inference (goal: at most 1.5).
report: seconds to write the page of a run with 10,000 test images (goal: below 60).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from striate import zoo
from striate.explain import grad_cam, occlusion, strongest
from striate.train import recipe, train
from striate.train.engine import keep_memory
from striate.train.report import write_report


def median_seconds(job: Callable[[], object], seconds: float) -> float:
    """Median time of a job, after one to warm up; at least three."""
    job()
    spent: list[float] = []
    while len(spent) < 3 or sum(spent) < seconds:
        began = time.perf_counter()
        job()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def bench_grad_cam(seconds: float, quick: bool) -> dict[str, float]:
    """A map of ResNet-50 beside its forward pass."""
    net = zoo.build("resnet18" if quick else "resnet50").eval()
    x = torch.randn(1 if quick else 8, 3, 64 if quick else 224, 64 if quick else 224)

    @torch.inference_mode()
    def forward() -> Tensor:
        return net(x)

    plain, ours = median_seconds(forward, seconds), median_seconds(lambda: grad_cam(net, x), seconds)
    return {"forward_seconds": plain, "grad_cam_seconds": ours, "ratio": ours / plain}


def bench_occlusion(seconds: float, quick: bool) -> dict[str, float]:
    """8 px squares at every pixel: where calls cost most (LeNet-5) and where arithmetic does (the MNIST CNN)."""
    found, step = {}, 4 if quick else 1
    for name in ("lenet5", "mnist_cnn"):
        net, x = zoo.build(name).eval(), torch.randn(1, *zoo.card(name).input)
        one = median_seconds(lambda net=net, x=x: one_at_a_time(net, x, 8, step), seconds)
        ours = median_seconds(lambda net=net, x=x: occlusion(net, x, 3, 8, step), seconds)
        found |= {f"{name} loop_seconds": one, f"{name} seconds": ours, f"{name} times_faster": one / ours}
    return found


@torch.inference_mode()
def one_at_a_time(net: nn.Module, x: Tensor, side: int, step: int) -> Tensor:
    """The map as a beginner would write it."""
    h, w = x.shape[2:]
    lost, times = torch.zeros(h, w), torch.zeros(h, w)
    whole = net(x)[0, 3]
    for top in range(0, h - side + 1, step):
        for left in range(0, w - side + 1, step):
            covered = x.clone()
            covered[:, :, top : top + side, left : left + side] = 0
            lost[top : top + side, left : left + side] += whole - net(covered)[0, 3]
            times[top : top + side, left : left + side] += 1
    return lost / times.clamp(min=1)


def bench_top9(seconds: float, quick: bool) -> dict[str, float]:
    """ResNet-20 over CIFAR-sized images."""
    net = zoo.build("resnet20_cifar").eval()
    batches = torch.randn(256 if quick else 10_000, 3, 32, 32).split(100)

    @torch.inference_mode()
    def forward() -> None:
        for x in batches:
            net(x)

    plain, ours = median_seconds(forward, seconds), median_seconds(lambda: strongest(net, batches), seconds)
    return {"inference_seconds": plain, "search_seconds": ours, "ratio": ours / plain}


def bench_report(seconds: float, quick: bool) -> dict[str, float]:
    """Noise with labels, 10,000 of it to test on."""
    draw, n = np.random.default_rng(0), 200 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        arrays = {
            f"{name}_{split}": values
            for split, m in (("train", 2_000), ("test", n))
            for name, values in (
                ("x", draw.integers(0, 256, (m, 28, 28), np.uint8)),
                ("y", draw.integers(0, 10, m)),
            )
        }
        np.savez(Path(folder) / "noise.npz", **arrays)
        settings = {"data": str(Path(folder) / "noise.npz"), "model": "mnist_cnn", "epochs": 1}
        run = train(recipe(settings), Path(folder) / "run", report=False)
        began = time.perf_counter()
        page = write_report(run)
        return {"seconds": time.perf_counter() - began, "bytes": page.stat().st_size}


JOBS = {"grad-cam": bench_grad_cam, "occlusion": bench_occlusion, "top-9": bench_top9, "report": bench_report}


def main() -> None:
    """Run everything, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=list(JOBS), choices=JOBS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: whether it works, not how fast it is"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    keep_memory()
    results = {}
    for name in options.only:
        results[name] = JOBS[name](options.seconds, options.quick)
        print(f"{name:10}", *(f"{k} {v:.4g}" for k, v in results[name].items()), sep="  ", file=sys.stderr)
    if options.json:
        print(
            json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__, "results": results})
        )


if __name__ == "__main__":
    main()

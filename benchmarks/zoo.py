"""The zoo beside torchvision: images a second of inference and of a training step, and what a look at the zoo costs.

    python benchmarks/zoo.py [--rounds 3] [--seconds 3] [--only resnet50 ...] [--json]

The same images, optimiser (SGD, momentum), float32, layout and threads for `torchvision` and `ours`; `engine` is ours
through the engine that `striate train` uses, in the precision and layout that it picks. Rounds are interleaved; rates
are medians over rounds, ratios to torchvision are taken round by round.
"""

# ruff: noqa: E402

import argparse
import json
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("_"))  # needs CUDA's operators
import torchvision.models as tv

from striate import zoo
from striate.train.engine import Engine

NETWORKS = {"resnet50": 224, "vgg16": 224, "densenet121": 224, "mobilenet_v2": 224, "inception_v3": 299}
Call = Callable[[Tensor], Tensor]
BATCH = {"inference": 1, "training": 8}
STARTS = {  # seconds of a whole process
    "nasnet_large built on the meta device": "import torch; from striate.zoo import build\n"
    "with torch.device('meta'): build('nasnet_large')",
    "striate anatomy nasnet_large": "from striate.cli import main; main(['anatomy', 'nasnet_large'])",
    "striate models": "from striate.cli import main; main(['models'])",
}


def contestants(name: str) -> dict[str, tuple[nn.Module, Call]]:
    """The network whose weights are trained, and how it is called; the engine takes pixels and scales them itself."""
    options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    peer, ours, fast = getattr(tv, name)(**options), zoo.build(name), zoo.build(name)
    engine = Engine(fast, (0.5,) * 3, (0.25,) * 3, device="cpu")
    return {"torchvision": (peer, peer), "ours": (ours, ours), "engine": (fast, engine)}


def inference_rate(net: nn.Module, call: Call, x: Tensor, seconds: float) -> float:
    """Images a second through the network in eval mode."""
    net.eval()
    with call.inference() if isinstance(call, Engine) else torch.inference_mode():
        return rate(lambda: call(x), len(x), seconds)


def training_rate(net: nn.Module, call: Call, x: Tensor, seconds: float) -> float:
    """Images a second through forward, backward and a step of SGD."""
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, foreach=True)
    y = torch.arange(len(x)) % 1000

    def step() -> None:
        F.cross_entropy(call(x), y).backward()
        optimiser.step()
        optimiser.zero_grad()

    (call if isinstance(call, Engine) else net).train()
    return rate(step, len(x), seconds)


def rate(step: Callable[[], object], batch: int, seconds: float) -> float:
    """Images a second, after two steps to warm up."""
    step()
    step()
    done, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        step()
        done += batch
    return done / spent


def compare(name: str, task: str, rounds: int, seconds: float) -> dict[str, float]:
    """Median rates, and median ratios to torchvision."""
    side, batch = NETWORKS[name], BATCH[task]
    pixels = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    measure = {"inference": inference_rate, "training": training_rate}[task]
    nets = contestants(name)
    rates: dict[str, list[float]] = {who: [] for who in nets}
    for turn in range(rounds):
        for who, (net, call) in list(nets.items())[:: -1 if turn % 2 else 1]:  # nobody always goes first
            rates[who].append(measure(net, call, pixels if who == "engine" else pixels / 255, seconds))
    ratios = {
        who: [ours / theirs for ours, theirs in zip(each, rates["torchvision"], strict=True)]
        for who, each in rates.items()
    }
    return {who: statistics.median(each) for who, each in rates.items()} | {
        f"{who} / torchvision": statistics.median(ratios[who]) for who in ("ours", "engine")
    }


def start(code: str, times: int) -> float:
    """Median seconds of a fresh interpreter."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def main() -> None:
    """Run everything, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for name in options.only:
        for task in BATCH:
            row = compare(name, task, options.rounds, options.seconds)
            results[f"{name} {task}"] = row
            print(
                f"{name:14} {task:10}", *(f"{k} {v:.2f}" for k, v in row.items()), sep="  ", file=sys.stderr
            )
    for what, code in STARTS.items():
        results[what] = {"seconds": start(code, options.rounds)}
        print(f"{what:36} {results[what]['seconds']:.2f} s", file=sys.stderr)
    if options.json:
        print(
            json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__, "results": results})
        )


if __name__ == "__main__":
    main()

"""A run's weights for torchvision, timm or Keras, read back and compared before they're called good."""

from pathlib import Path
from typing import Any, cast

import torch

from striate.errors import StriateError, UsageError
from striate.train.run import Run
from striate.transfer.export import SUFFIXES, save_weights
from striate.transfer.weights import load_weights
from striate.zoo.network import ZooNet

SUFFIX = {layout: suffixes[0] for layout, suffixes in SUFFIXES.items()}


def hand_over(
    folder: Path | str,
    layout: str,
    output: Path | str | None = None,
    images: int = 64,
    data: str | None = None,
) -> dict[str, Any]:
    """Write the run's network in the peer's layout -> {path, max_abs_diff, top1_agreement, n}.

    The file is read again and must answer as the run does on `images` of the test split, or of `data`, else it is
    removed.
    """
    run = Run.open(folder)
    model = run.model()
    if model.origin.get("kind") != "zoo" or "head" in model.origin:
        raise UsageError(
            f"{layout} has no network like this one", "networks of the zoo with their own head are known"
        )
    network, arguments = str(model.origin["name"]), model.origin.get("arguments", {})
    if layout not in SUFFIX:
        raise UsageError(f"no layout {layout!r}", f"one of {', '.join(SUFFIX)}")
    path = Path(output) if output else run.folder / f"{layout}{SUFFIX[layout]}"
    more = {"arguments": arguments, "preprocess": model.preprocess, "classes": model.classes}
    save_weights(cast(ZooNet, model.module), network, layout, path, **more)
    pictures = run.dataset(data)
    split = next(s for s in (pictures.test, pictures.val, pictures.train) if len(s))
    x = model.preprocess.normalise(split.read(range(min(images, len(split)))))
    with torch.inference_mode():
        mine = model.module.eval()(x)
        again = load_weights(network, path).module.eval()(x)
    difference = float((mine - again).abs().max())
    if difference > 1e-3 * max(1.0, float(mine.abs().max())):
        path.unlink()
        raise StriateError(f"read back, the weights for {layout} answer otherwise by {difference:.3g}")
    agreement = float((mine.argmax(1) == again.argmax(1)).float().mean())
    return {"path": str(path), "max_abs_diff": difference, "top1_agreement": agreement, "n": len(x)}

"""The pictures of the report that look into the network: heat maps, stage maps, the data as it sees them, health."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from striate.data import Images
from striate.errors import StriateError
from striate.explain.attribution import attribute
from striate.explain.embedding import embed, plane, scatter
from striate.explain.filters import feature_panels, features
from striate.explain.pages import spread
from striate.explain.picture import Pixels, heat_scale, overlay, to_pixels
from striate.train.charts import Line, line_chart, picture
from striate.train.checkpoint import Model, batched
from striate.train.metrics import Evaluation, Mistake

SHOWN_CLASSES = 10  # of stage maps
SHOWN_MAPS = 16  # of a stage
SHOWN_EPOCHS = 64  # of the weights over time
PLACED = 400  # images of the embedding
STAGE_SIDE, MAP_SIDE = 224, 448  # px of a picture of stage maps, of the embedding's half
BATCH = 64


def inside(
    model: Model, images: Images, evaluation: Evaluation, mistakes: Sequence[Mistake]
) -> dict[str, Any]:
    """What the page shows of a network that chooses one class; what can't be shown of it is left out."""
    return {
        "heats": _unless_refused(lambda: heats(model, images, evaluation, mistakes), []),
        "stages": _unless_refused(lambda: stage_maps(model, images, evaluation), []),
        "embedding": _unless_refused(lambda: embedding(model, images), None),
    }


def _unless_refused(make: Callable[[], Any], otherwise: Any) -> Any:
    """A dense network has no maps, two images no plane: the page does without."""
    try:
        return make()
    except StriateError:
        return otherwise


def heats(model: Model, images: Images, evaluation: Evaluation, mistakes: Sequence[Mistake]) -> list[str]:
    """For each mistake the Grad-CAM map of what the network said, over the image."""
    found = []
    for rows in batched((m.index for m in mistakes), BATCH):
        pixels, said = images.read(rows), torch.from_numpy(evaluation.predictions[list(rows)])
        shown = attribute(model.module, model.preprocess.normalise(pixels), "grad-cam", said)
        heat = shown.heat.float().cpu().numpy()
        found += [_over(p, h) for p, h in zip(pixels.numpy(), heat, strict=True)]
    return found


def _over(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> str:
    times = -(-96 // max(image.shape[1:]))  # small images are enlarged: their heat is smooth
    large = to_pixels(image).repeat(times, 0).repeat(times, 1)
    return picture(overlay(large, heat.repeat(times, 0).repeat(times, 1), heat_scale(heat, "")))


def stage_maps(model: Model, images: Images, evaluation: Evaluation) -> list[dict[str, Any]]:
    """For one image of each class, the first that is right, the maps of one layer for each resolution."""
    rows = []
    for k in range(len(evaluation.classes)):
        members = np.flatnonzero(evaluation.labels == k)
        right = members[evaluation.predictions[members] == k]
        rows += [int(i) for i in (*right[:1], *members[:1])][:1]
    shown = [rows[i] for i in spread(len(rows), SHOWN_CLASSES)] if rows else []
    pixels = images.read(shown)
    found = features(model.module, model.preprocess.normalise(pixels))
    return [
        {
            "name": evaluation.classes[int(evaluation.labels[row])],
            "picture": picture(pixels[i].permute(1, 2, 0).numpy()),
            "maps": [
                (panel.title, picture(_enlarged(panel.pixels), STAGE_SIDE))
                for panel in feature_panels({path: t[i] for path, t in found.items()}, SHOWN_MAPS)
            ],
        }
        for i, row in enumerate(shown)
    ]


def _enlarged(pixels: Pixels) -> Pixels:
    times = max(1, STAGE_SIDE // max(pixels.shape[:2]))
    return pixels.repeat(times, 0).repeat(times, 1)


def embedding(model: Model, images: Images) -> str:
    """Images on a plane by what enters the last layer, t-SNE, framed in the colour of their class."""
    rows = spread(len(images), PLACED)
    parts = (model.preprocess.normalise(images.read(rows[i : i + BATCH])) for i in range(0, len(rows), BATCH))
    places = plane(embed(model.module, parts), "tsne")
    pictures = [to_pixels(p) for p in images.read(rows).numpy()]
    labels = [int(y) for y in images.labels[rows]]
    return picture(np.asarray(scatter(places, pictures, labels, model.classes, 2 * MAP_SIDE)), 2 * MAP_SIDE)


def calibration(
    confidence: NDArray[Any], right: NDArray[np.bool_], bins: int = 10
) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, images) of the bins that aren't empty.    (n,), (n,)

    Guo et al., 2017, arXiv:1706.04599, section 2.
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    members = [place == i for i in range(bins)]
    return [(float(confidence[m].mean()), float(right[m].mean()), int(m.sum())) for m in members if m.any()]


def calibration_error(table: Sequence[tuple[float, float, int]]) -> float:
    """Mean distance of confidence and share right, over the images: the expected calibration error."""
    return sum(n * abs(said - true) for said, true, n in table) / sum(n for *_, n in table)


def calibration_chart(table: Sequence[tuple[float, float, int]]) -> str:
    """How often the network is right when it says that it is so sure, beside the line of an honest one."""
    honest = Line("honest", [(0, 0.0), (100, 1.0)], "training")
    found = Line("measured", [(100 * said, true) for said, true, _ in table], "validation")
    return line_chart(
        "Calibration", [honest, found], "confidence, %", "share right", lambda y: f"{100 * y:.4g} %"
    )


def gradients_by_layer(looks: Sequence[dict[str, Any]]) -> str:
    """Root mean square of each layer's gradient, from the image on, at the first and the last epoch."""
    shown = {looks[0]["epoch"]: ("training", looks[0]), looks[-1]["epoch"]: ("validation", looks[-1])}
    lines = [
        Line(f"epoch {epoch}", _sizes(look), "validation" if look is looks[-1] else style)
        for epoch, (style, look) in shown.items()
    ]
    return line_chart("Gradient", lines, "layer, from the image on", "rms", "{:.2g}".format, log=True)


def weights_over_time(looks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each layer a picture of how its weights lie, {layer, picture, low, high}: epochs from left to right."""
    looks = [looks[i] for i in spread(len(looks), SHOWN_EPOCHS)]
    found = []
    for histograms in zip(*(look["weights"] for look in looks), strict=True):
        low, high = min(h["low"] for h in histograms), max(h["high"] for h in histograms)
        share = rebinned(histograms, low, high)
        dark = np.sqrt(share / share.max())  # the root lets thin tails be seen
        pixels = np.round(255 * (1 - dark[:, ::-1].T)).astype(np.uint8)
        found.append(
            {
                "layer": histograms[0]["layer"],
                "picture": picture(pixels[..., None]),
                "low": low,
                "high": high,
            }
        )
    return found


def rebinned(histograms: Sequence[dict[str, Any]], low: float, high: float) -> NDArray[np.float64]:
    """The share of the weights of each histogram in each of its number of bins between low and high, all alike."""
    bins = len(histograms[0]["counts"])
    wide = (high - low) or 1.0
    edges = np.linspace(low, low + wide, bins + 1)
    found = []
    for h in histograms:
        own = np.linspace(h["low"], max(h["high"], h["low"] + wide / bins), bins + 1)
        found.append(np.diff(np.interp(edges, own, np.cumsum([0, *h["counts"]]) / sum(h["counts"]))))
    return np.stack(found)


def _sizes(look: dict[str, Any]) -> list[tuple[float, float]]:
    return [(i, gradient["rms"] or math.nan) for i, gradient in enumerate(look["gradients"], 1)]

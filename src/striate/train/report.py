"""`report.html`: one page, with nothing to load from elsewhere, that tells how a run went."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.errors import StriateError, UsageError
from striate.files import write_text
from striate.train.charts import Line, filters, line_chart, picture

if TYPE_CHECKING:
    from torch import nn

    from striate.anatomy import Anatomy
    from striate.data import DataSet, Images
    from striate.train.checkpoint import Model
    from striate.train.labels import LabelEvaluation
    from striate.train.metrics import Evaluation
    from striate.train.run import Run

MATRIX_CLASSES = (
    30  # a larger confusion matrix can't be read; the most frequent confusions are listed instead
)
LISTED_CLASSES = 50
SPLITS = {"test": "test", "val": "validation", "train": "training"}
LOSSES = {"focal": "focal loss", "binary-cross-entropy": "binary cross-entropy"}  # as a chart writes them
SHOWN_MISTAKES = 24
SHOWN_FILTERS = 64
DRAWING_BYTES = 2 << 20


def write_report(run: "Run", data: "DataSet | None" = None) -> Path:
    """Write `report.html` into the folder of a finished run; `data` is its data set, where that is at hand."""
    go_on = f"go on with `striate train --resume {run.folder}`"
    if not (run.folder / "summary.json").is_file():
        raise UsageError(f"{run.folder} is not finished", go_on)
    told, done = run.summary["epochs"], len(run.history)
    if told != done:
        why = f"metrics.csv has {done} epochs, summary.json {told}"
        raise UsageError(f"{run.folder} is not finished: {why}", go_on)
    from jinja2 import Environment, PackageLoader

    from striate.anatomy.render import human_pair

    templates = Environment(loader=PackageLoader("striate.train", "."), autoescape=True, trim_blocks=True)
    templates.filters |= {"percent": percent, "count": count, "pair": human_pair}
    page = templates.get_template("report.html").render(
        **_story(run, run.dataset() if data is None else data)
    )
    return write_text(run.folder / "report.html", page)


def percent(share: float | None) -> str:
    """0.9852 -> `98.52 %`, never broken over two lines."""
    return "–" if share is None else f"{100 * share:.2f}\u00a0%"


def count(number: float | None) -> str:
    """1234567 -> `1,234,567`"""
    return "–" if number is None else f"{number:,.0f}"


def _story(run: "Run", data: "DataSet") -> dict[str, Any]:
    """Everything that the page shows, by the names that its template uses."""
    from markupsafe import Markup

    from striate.train import inside
    from striate.train.labels import LabelEvaluation

    model, history = run.model(), run.history
    split = next(name for name in ("test", "val", "train") if len(getattr(data, name)))
    evaluation = run.evaluate(data, split)
    images = getattr(data, split)
    if isinstance(evaluation, LabelEvaluation):
        outcome = _labels(evaluation, SPLITS[split])
    else:
        said = findings(evaluation, SPLITS[split], history, run.summary.get("best_epoch"))
        said += phases_told(run)
        pictures = inside.inside(model, images, evaluation, evaluation.mistakes(SHOWN_MISTAKES))
        outcome = {"findings": said, **_classes(evaluation), **_calibration(evaluation), **pictures}
    anatomy, drawing, trouble = _take_apart(model.module, model.input_shape)
    return {
        "name": run.folder.name,
        "recipe": run.recipe,
        "fields": _fields(run),
        "summary": run.summary,
        "split": SPLITS[split],
        "evaluation": evaluation,
        "charts": [
            (title, Markup(svg))
            for title, svg in curves(history, run.scratch, run.recipe.loss or "cross-entropy")
        ],
        "scratch": run.scratch,
        **outcome,
        "mistakes": _mistakes(images, evaluation),
        "wrong": len(evaluation.mistakes()),
        "input": "x".join(map(str, (*model.input_shape[1:], model.input_shape[0]))),
        "anatomy": anatomy,
        "drawing": Markup(drawing) if drawing else None,
        "trouble": trouble,
        **_first_layer(model),
        **_health(run),
        "environment": run.environment,
        "command": run.command,
    }


def _classes(evaluation: "Evaluation") -> dict[str, Any]:
    """The tables of a network that chooses one class."""
    classes = evaluation.per_class
    return {
        "several": False,
        "matrix": matrix(evaluation) if len(evaluation.classes) <= MATRIX_CLASSES else None,
        "confusions": confusions(evaluation)[:MATRIX_CLASSES],
        "per_class": sorted(classes, key=lambda c: c.f1)[:LISTED_CLASSES]
        if len(classes) > LISTED_CLASSES
        else classes,
    }


def _calibration(evaluation: "Evaluation") -> dict[str, Any]:
    """Whether the network is right as often as it says."""
    from markupsafe import Markup

    from striate.train.inside import calibration, calibration_chart, calibration_error

    table = calibration(evaluation.probabilities.max(1), evaluation.predictions == evaluation.labels)
    return {"calibration": Markup(calibration_chart(table)), "calibration_error": calibration_error(table)}


def _health(run: "Run") -> dict[str, Any]:
    """How the gradient reached the layers, how weights spread, and what the last epoch's activations were like."""
    from markupsafe import Markup

    from striate.train.inside import gradients_by_layer, weights_over_time
    from striate.train.records import read_health

    looks = read_health(run.folder)
    if not looks:
        return {"health": None}
    return {
        "health": looks[-1],
        "first_look": looks[0],
        "gradients": Markup(gradients_by_layer(looks)),
        "weights": weights_over_time(looks),
    }


def _labels(evaluation: "LabelEvaluation", split: str) -> dict[str, Any]:
    """The table of a network that gives several labels, and what stands out in it."""
    labels = evaluation.per_label
    weakest = sorted((c for c in labels if c.support), key=lambda c: c.average_precision)
    said = [
        f"Mean average precision {percent(evaluation.map)} over {len(weakest)} labels; of {count(len(evaluation))} "
        f"{split} images, {percent(evaluation.accuracy)} have every label right."
    ]
    said += [
        f"The hardest label: {c.name}, average precision {percent(c.average_precision)}." for c in weakest[:1]
    ]
    return {
        "several": True,
        "findings": said,
        "per_class": labels if len(labels) <= LISTED_CLASSES else weakest[:LISTED_CLASSES],
    }


def _take_apart(module: "nn.Module", shape: tuple[int, int, int]) -> "tuple[Anatomy | None, str, str]":
    """Anatomy and drawing, or why this network can't be followed by its shapes."""
    from striate.anatomy import anatomy
    from striate.diagram import to_svg

    try:
        table, drawing = anatomy(module, shape), to_svg(module, shape)
    except StriateError as error:
        return None, "", str(error)
    return table, drawing if len(drawing) <= DRAWING_BYTES else "", ""


def findings(
    evaluation: "Evaluation", split: str, history: list[dict[str, float]], best_epoch: int | None
) -> list[str]:
    """What a reader should know before looking at anything else, each with its numbers."""
    n, right = len(evaluation), round(evaluation.accuracy * len(evaluation))
    low, high = interval(right, n)
    said = [
        f"{count(right)} of {count(n)} {split} images are right. From so many, the accuracy on new images of "
        f"the same kind lies between {percent(low)} and {percent(high)} (95 % interval)."
    ]
    if best_epoch and len(history) > 1 and "val_accuracy" in history[-1]:
        said.append(
            f"The weights are those of epoch {best_epoch} of {len(history)}, the best on validation images."
        )
    return said + _learnt_by_heart(history[-1:]) + _weak_spots(evaluation)


def _learnt_by_heart(last: list[dict[str, float]]) -> list[str]:
    gaps = [100 * (row["train_accuracy"] - row["val_accuracy"]) for row in last if "val_accuracy" in row]
    return [
        f"At the end, {gap:.1f} points more of the training images, as augmented, were right than of the "
        "validation images: some were learnt by heart. More data, augmentation or dropout narrow this gap."
        for gap in gaps
        if gap > 2
    ]


def _weak_spots(evaluation: "Evaluation") -> list[str]:
    weakest = min((c for c in evaluation.per_class if c.support), key=lambda c: c.recall)
    return [
        f"The most frequent confusion: {true} taken for {predicted}, {_times(n)}. "
        f"The hardest class: {weakest.name}, {percent(weakest.recall)} of {count(weakest.support)} found."
        for true, predicted, n in confusions(evaluation)[:1]
    ]


def interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: the p with (right/n - p)^2 <= z^2 p (1 - p) / n."""
    z = 1.959964
    middle = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * (right * (n - right) / n + z * z / 4) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def confusions(evaluation: "Evaluation") -> list[tuple[str, str, int]]:
    """(true, predicted, how often), the most frequent first."""
    table = evaluation.confusion.copy()
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")
    places = [divmod(int(i), len(table)) for i in order[: np.count_nonzero(table)]]
    return [(evaluation.classes[t], evaluation.classes[p], int(table[t, p])) for t, p in places]


def matrix(evaluation: "Evaluation") -> list[tuple[str, list[tuple[int, int]]]]:
    """Rows of the confusion matrix: the true class, then (count, percent of the row) for each prediction."""
    table = evaluation.confusion
    shares = np.ceil(100 * table / np.maximum(table.sum(axis=1, keepdims=True), 1)).astype(int)
    return [
        (name, list(zip(row.tolist(), share.tolist(), strict=True)))
        for name, row, share in zip(evaluation.classes, table, shares, strict=True)
    ]


def phases_told(run: "Run") -> list[str]:
    """How training went on from weights that were there: the head's epochs, and the same without the weights."""
    head = sum(row.get("phase") == 1 for row in run.history)
    last = "the last stage" if run.recipe.unfreeze == 1 else f"the last {run.recipe.unfreeze} stages"
    after = f"; from {head + 1} on, {last} too" if head < len(run.history) else ""
    said = [f"Up to epoch {head} the head was trained alone, on features of the frozen network{after}."] * (
        head > 0
    )
    scratch = run.summary.get("scratch")
    if scratch and scratch["test_accuracy"] is not None and run.summary["test_accuracy"] is not None:
        said.append(
            f"From scratch, the same network reached {percent(scratch['test_accuracy'])} of the test images in "
            f"{count(scratch['epochs'])} epochs and {scratch['train_seconds']:.1f} s; from the weights, "
            f"{percent(run.summary['test_accuracy'])} in {run.summary['train_seconds']:.1f} s."
        )
    return said


def curves(
    history: list[dict[str, float]],
    scratch: Sequence[dict[str, float]] = (),
    loss_name: str = "cross-entropy",
) -> list[tuple[str, str]]:
    """Loss, accuracy and learning rate by epoch, as (title, SVG), beside a run `scratch` without the weights."""
    if not history:
        return []

    def line(name: str, column: str, style: str, rows: Sequence[dict[str, float]] = history) -> Line:
        return Line(name, [(row["epoch"], row.get(column, float("nan"))) for row in rows], style)

    def both(column: str) -> list[Line]:
        lines = [
            line("training", f"train_{column}", "training"),
            line("validation", f"val_{column}", "validation"),
        ]
        return lines + [line("from scratch, validation", f"val_{column}", "scratch", scratch)] * bool(scratch)

    head = sum(row.get("phase") == 1 for row in history)
    epoch = f"epoch, up to {head} the head alone" if 0 < head < len(history) else "epoch"
    unit = f"{LOSSES.get(loss_name, loss_name)} in nats"
    loss = line_chart("Loss", both("loss"), epoch, unit, lambda y: f"{y:.4g}", log=True)
    accuracy = line_chart("Accuracy", both("accuracy"), epoch, "share", lambda y: f"{100 * y:.4g} %")
    rate = line_chart(
        "Learning rate", [line("learning rate", "lr", "rate")], epoch, "step size", "{:.3g}".format
    )
    return [("Loss (nats)", loss), ("Accuracy", accuracy), ("Learning rate", rate)]


def _mistakes(images: "Images", evaluation: "Evaluation | LabelEvaluation") -> list[dict[str, Any]]:
    """The worst mistakes with their pictures."""
    worst = evaluation.mistakes(SHOWN_MISTAKES)
    if not worst:
        return []
    pixels = images.read([m.index for m in worst]).permute(0, 2, 3, 1).numpy()
    return [
        {"picture": picture(p), "small": max(p.shape) <= 64, "is": m}
        for m, p in zip(worst, pixels, strict=True)
    ]


def _first_layer(model: "Model") -> dict[str, Any]:
    """The weights that see the image: kernels of a convolution, or images of a dense layer's rows."""
    from torch import nn

    c, h, w = model.input_shape
    layer = next((m for m in model.module.modules() if isinstance(m, nn.Conv2d | nn.Linear)), None)
    if layer is None:
        return {"filters": []}
    weights = layer.weight.detach().float().cpu()
    if isinstance(layer, nn.Linear):
        if layer.in_features != c * h * w:
            return {"filters": []}
        weights = weights.reshape(-1, c, h, w)
    if weights.shape[1] not in (1, 3) or max(weights.shape[2:]) == 1:
        return {"filters": []}
    shown = weights[:SHOWN_FILTERS].numpy()
    return {"filters": filters(shown), "all_filters": len(weights), "largest": float(np.abs(shown).max())}


def _fields(run: "Run") -> list[tuple[str, str, str, bool]]:
    """The recipe as (field, value, meaning, was asked for)."""
    flags = (word[2:] for word in run.command.split() if word.startswith("--"))
    asked = {"data", "model"} | {flag.removeprefix("no-").replace("-", "_") for flag in flags}
    rows = []
    for name, field in type(run.recipe).model_fields.items():
        value = getattr(run.recipe, name)
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
        rows.append((name, text, field.description or "", name in asked))
    return rows


def _times(n: int) -> str:
    return "once" if n == 1 else "twice" if n == 2 else f"{count(n)} times"

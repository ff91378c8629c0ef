"""What a person sees while a network trains: one live bar in a terminal, one line an epoch in a pipe."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from striate.cli.common import console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

REFRESH = 0.1  # seconds between two looks at the running loss
LINE = {
    "train_loss": "loss {:.4f}",
    "train_accuracy": "accuracy {:.2%}",
    "val_loss": "val loss {:.4f}",
    "val_accuracy": "val accuracy {:.2%}",
    "val_map": "val mAP {:.4f}",
    "val_balanced_accuracy": "val balanced accuracy {:.2%}",
    "val_macro_f1": "val macro F1 {:.2%}",
    "lr": "lr {:.2g}",
    "images_per_second": "{:,.0f} images/s",
    "seconds": "{:.1f} s",
}
BAR = {"train_loss": "loss {:.4f}", "val_accuracy": "val {:.2%}", "images_per_second": "{:,.0f} images/s"}


def is_first() -> bool:
    """Whether this process speaks for all that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def progress(stderr: bool = False) -> Iterator["Bar | Lines"]:
    """A listener for `train` that suits the stream; the bar is gone when the block ends, however it ends."""
    out = console(stderr)
    if not out.file.isatty():  # FORCE_COLOR makes rich take a file for a terminal
        yield Lines(out)
        return
    with _bar(out) as live:
        yield Bar(live)


class Lines:
    """One plain line an epoch."""

    def __init__(self, out: "Console") -> None:
        self.out = out

    def on_epoch(self, state: Any) -> None:
        width = len(str(state.epochs))
        watched = {
            name: f"val {name[4:].replace('_', '-')} {{:.2%}}" for name in state.metrics if "_top_" in name
        }
        self.out.print(
            f"epoch {state.epoch:>{width}}/{state.epochs}  {'  '.join(figures(state.metrics, watched | LINE))}",
            soft_wrap=True,
        )
        self.out.file.flush()


class Bar:
    """One live bar for the whole run: epoch, loss, accuracy, images/s, time left."""

    def __init__(self, live: "Progress") -> None:
        self.live = live
        self.task = live.add_task("", epoch="getting ready", figures="", total=None)
        self.next_look = 0.0

    def on_start(self, state: Any) -> None:
        self.live.update(self.task, total=state.epochs * state.steps_per_epoch)

    def on_step(self, state: Any) -> None:
        if monotonic() < self.next_look:
            return
        self.next_look = monotonic() + REFRESH
        self._show(state)

    def on_epoch(self, state: Any) -> None:
        self._show(state)

    def _show(self, state: Any) -> None:
        loss = state.running_loss
        shown = state.metrics if loss is None else {**state.metrics, "train_loss": loss}
        self.live.update(
            self.task,
            completed=(state.epoch - 1) * state.steps_per_epoch + state.step,
            epoch=f"epoch {state.epoch}/{state.epochs}",
            figures="  ".join((*figures(shown, BAR), "left")),
        )


def figures(metrics: dict[str, float], forms: dict[str, str]) -> list[str]:
    """Each figure that is known in its form: `val_accuracy` 0.985 -> `val accuracy 98.50 %`."""
    known = {name: metrics[name] for name in forms if metrics.get(name) is not None}
    return [forms[name].format(value).replace("%", " %") for name, value in known.items()]


def _bar(out: "Console") -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    columns: list[ProgressColumn | str] = [
        TextColumn("{task.fields[epoch]}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
    ]
    return Progress(*columns, console=out, transient=True)

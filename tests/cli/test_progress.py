"""The bar and the lines, fed with the events that the training loop emits."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from striate.cli.progress import LINE, Bar, Lines, _bar, figures, progress

METRICS = {
    "train_loss": 0.25,
    "train_accuracy": 0.9,
    "val_loss": 0.2,
    "val_accuracy": 0.925,
    "lr": 0.001,
    "images_per_second": 12345.6,
    "seconds": 1.5,
}


def state(**changes: object) -> SimpleNamespace:
    facts = {
        "epoch": 2,
        "epochs": 10,
        "step": 5,
        "steps_per_epoch": 20,
        "metrics": METRICS,
        "running_loss": 0.125,
    }
    return SimpleNamespace(**{**facts, **changes})


def test_a_pipe_gets_one_plain_line_an_epoch() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, markup=False, highlight=False, width=40))
    lines.on_epoch(state())
    lines.on_epoch(state(epoch=10, metrics={"train_loss": 1.0}))
    assert out.getvalue().splitlines() == [
        "epoch  2/10  loss 0.2500  accuracy 90.00 %  val loss 0.2000  val accuracy 92.50 %  lr 0.001"
        "  12,346 images/s  1.5 s",
        "epoch 10/10  loss 1.0000",
    ]


def test_a_file_gets_lines_even_where_colours_are_forced(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress() as listener:
        assert isinstance(listener, Lines)
        listener.on_epoch(state())
    assert capsys.readouterr().out.startswith("epoch  2/10  loss 0.2500")


def test_the_bar_counts_steps_over_the_whole_run() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    with _bar(console) as live:
        bar = Bar(live)
        bar.on_start(state())
        bar.on_step(state())
        (task,) = live.tasks
        assert (task.completed, task.total) == (25, 200)
        assert task.fields["epoch"] == "epoch 2/10"
        assert task.fields["figures"] == "loss 0.1250  val 92.50 %  12,346 images/s  left"
        bar.on_epoch(state(epoch=10, step=20))
        assert task.completed == 200


def test_the_running_loss_is_not_read_at_every_step() -> None:
    class Watched(SimpleNamespace):
        reads = 0

        @property
        def running_loss(self) -> float:
            type(self).reads += 1
            return 0.5

    watched = Watched(epoch=1, epochs=1, step=0, steps_per_epoch=1000, metrics={})
    with _bar(Console(file=io.StringIO(), force_terminal=True)) as live:
        bar = Bar(live)
        for watched.step in range(1000):
            bar.on_step(watched)
    assert Watched.reads < 100  # about two reads, one each tenth of a second


def test_unknown_figures_are_left_out() -> None:
    assert figures({"train_loss": 2.0, "val_loss": None}, LINE) == ["loss 2.0000"]

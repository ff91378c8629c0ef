"""metrics.csv and log.txt, a line an epoch."""

import csv
import io
from pathlib import Path
from typing import Any

from striate.files import write_text
from striate.train.events import Listener, State


class Record(Listener):
    """Writes the metrics of each epoch at its end; a resumed run drops the lines of epochs that it does again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []

    def on_start(self, state: State) -> None:
        for name, form in (("metrics.csv", _table), ("log.txt", _log)):
            if (self.folder / name).exists() or self.rows:
                write_text(self.folder / name, form(self.rows))

    def on_epoch(self, state: State) -> None:
        row = {"epoch": state.before + state.epoch, **state.metrics} | ({"phase": 2} if state.before else {})
        self.rows.append(row)
        first = len(self.rows) == 1
        for name, text in (("metrics.csv", _table([row], self.rows[0], first)), ("log.txt", _log([row]))):
            with (self.folder / name).open("a", newline="", encoding="utf-8") as f:
                f.write(text)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, facts: dict[str, Any]) -> None:
        self.rows = list(facts["rows"])


def _table(rows: list[dict[str, float]], head: dict[str, float] | None = None, header: bool = True) -> str:
    text = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(text, head or rows[0], restval="", extrasaction="ignore")
        if header:
            writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _log(rows: list[dict[str, float]]) -> str:
    return "".join("  ".join(f"{k} {v:.5g}" for k, v in row.items()) + "\n" for row in rows)

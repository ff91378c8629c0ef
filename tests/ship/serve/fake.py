"""A server whose model is arithmetic: the answer holds the first two pixels of the picture, and some pixels do harm.

Run as a program with the fields of Settings as JSON, and how many workers; it prints each batch's size to the file
named in BATCHES. A worker imports this module too, under another name.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from striate.data import Preprocess
from striate.ship import Predictor
from striate.ship.serve import models, server
from striate.ship.serve.contract import Settings

WAITS, FOREVER, SLOW, RAISES, NAN, HANGS, SHORT = range(248, 255)  # what a first pixel does to its batch
PREPROCESS = Preprocess((2, 2), channels=1, mean=(0,), std=(1,))
lock = threading.Lock()


def answers(pixels: np.ndarray) -> np.ndarray:
    """uint8 (n, 1, 2, 2) -> (n, 2): the number 256 a + b of the first two pixels, over 65536, and what is left to 1."""
    first, second = pixels[:, 0, 0, 0].astype(int), pixels[:, 0, 0, 1].astype(int)
    with lock, open(os.environ["BATCHES"], "a") as f:
        f.write(f"{len(pixels)} {' '.join(str(256 * a + b) for a, b in zip(first, second, strict=True))}\n")
    while (first == WAITS).any() and not Path(os.environ["BATCHES"]).with_name("go").exists():
        time.sleep(0.02)
    if (first == SLOW).any():
        time.sleep(0.4)
    if (first == RAISES).any():
        raise RuntimeError("secret: /etc/passwd")
    if (first == HANGS).any():
        time.sleep(4)
    if (first == FOREVER).any():
        time.sleep(1000)
    rows = shares(pixels)
    rows[first == NAN] = np.nan
    return rows[:-1] if (first == SHORT).any() else rows


def shares(pixels: np.ndarray) -> np.ndarray:
    """The answers of a model that nothing harms."""
    first, second = pixels[:, 0, 0, 0].astype(int), pixels[:, 0, 0, 1].astype(int)
    p = ((256 * first + second) / 65536).astype(np.float32)
    return np.stack([p, 1 - p], axis=1)


def load(path: object, engine: str, batch: int) -> Predictor:
    """In place of striate's own: the file says how long loading takes, or that it is no good."""
    told = Path(str(path)).read_text()
    if told == "bad":
        raise ValueError("no good")
    if told == "harmless":
        return Predictor(("a", "b"), PREPROCESS, shares, "fake", batch)
    if told == "several":
        return Predictor(("a", "b"), PREPROCESS, apart, "fake", batch, several=True)
    time.sleep(float(told or 0))
    return Predictor(("a", "b"), PREPROCESS, answers, "fake", batch)


def apart(pixels: np.ndarray) -> np.ndarray:
    """uint8 (n, 1, 2, 2) -> (n, 2): the first two pixels, each over 255."""
    return (pixels[:, 0, 0, :2] / 255).astype(np.float32)


models.load = load
server.check = lambda path, engine: None
server._Workers.pause = 0.5

if __name__ == "__main__":
    server.serve(Settings(**json.loads(sys.argv[1])), int(sys.argv[2]))

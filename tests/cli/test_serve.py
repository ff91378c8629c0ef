"""`striate serve`: flags become settings, and bad ones are told before anything is bound."""

import json
from typing import Any

import pytest

from striate.cli import main
from striate.ship.serve import server
from striate.ship.serve.contract import Settings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, int]]:
    calls: list[tuple[Settings, int]] = []
    monkeypatch.setattr(server, "serve", lambda settings, workers: calls.append((settings, workers)))
    monkeypatch.delenv("STRIATE_TOKEN", raising=False)
    return calls


def test_the_defaults_are_those_of_the_contract(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "runs/a", "b=runs/c", "--json"]) == 0
    ((settings, workers),) = asked
    assert settings == Settings({"a": "runs/a", "b": "runs/c"})
    assert workers == 1
    assert json.loads(capsys.readouterr().out) == {"models": {"a": "runs/a", "b": "runs/c"}}


def test_every_flag_arrives(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_TOKEN", "hush")
    flags = "--host 0.0.0.0 --port 9 -j 3 --engine onnx --max-batch 2 --max-queue 4 --max-images 3 --max-body 2048"
    times = "--timeout 1.5 --receive-timeout 2.5 --hang-timeout 3.5 --grace 4.5"
    assert main(["serve", "a", *flags.split(), *times.split()]) == 0
    assert asked == [
        (
            Settings(
                {"a": "a"}, host="0.0.0.0", port=9, token="hush", engine="onnx", max_batch=2, max_queue=4,
                max_images=3, max_body=2048, timeout=1.5, receive_timeout=2.5, hang_timeout=3.5, grace=4.5,
            ),
            3,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "cause"),
    [
        (["a", "--host", "0.0.0.0"], "error: 0.0.0.0 can be reached from elsewhere: that needs a token"),
        (["a", "x=a", "x=b"], "error: two models are named x"),
        (
            ["a", "--max-batch", "9", "--max-queue", "3"],
            "error: --max-batch 9 is more than --max-queue 3: it could never be had",
        ),
        (["a b"], "error: nothing to serve at a b"),
    ],
)
def test_slips(
    argv: list[str], cause: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRIATE_TOKEN", raising=False)
    assert main(["serve", *argv]) == 2
    assert capsys.readouterr().err.splitlines()[0] == cause

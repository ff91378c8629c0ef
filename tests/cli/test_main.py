"""What every verb shares: help without torch, the nearest word, one line of cause, exit codes."""

import json
import signal
import subprocess
import sys

import pytest

from striate import __version__
from striate.cli import VERBS, main
from striate.cli.common import emit, one_of, shape, visible
from striate.errors import DataError, StriateError, UsageError


def test_help_names_every_verb_and_never_imports_torch() -> None:
    code = "import sys; from striate.cli import main; sys.exit(main(['--help']) or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"\n  {verb} " in done.stdout for verb in VERBS)
    assert "..." not in done.stdout.partition("Commands:")[2]  # no sentence is cut off


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"Usage: striate {verb}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_nothing_asked_shows_the_help_and_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: striate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "cause", "hint"),
    [
        (["anatmy"], "unknown verb 'anatmy'", "did you mean anatomy"),
        (["data", "downlaod"], "unknown verb 'downlaod'", "did you mean download?"),
        (["models", "--jsn"], "unknown flag --jsn", "did you mean --json?"),
        (["evaluate", "x", "--splitt", "val"], "unknown flag --splitt", "did you mean --split, "),
        (["train", "--resume", "--json"], "--resume: expected a run folder, got --json", "--resume RUN"),
        (["evaluate"], "Missing argument 'RUN'.", "striate evaluate --help"),
        (["evaluate", "x", "--split", "tset"], "--split: unknown value 'tset'", "did you mean test?"),
        (["diagram", "lenet5", "--to", "pyton"], "--to: unknown value 'pyton'", "did you mean python?"),
        (["models", "lnet5"], "no network matches 'lnet5'", "did you mean"),
    ],
)
def test_a_slip_is_answered_with_the_nearest(
    argv: list[str], cause: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == f"error: {cause}"
    assert second.startswith(f"hint: {hint}")


def test_a_flag_without_its_value_is_not_called_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume"]) == 2
    assert capsys.readouterr().err == "error: Option '--resume' requires an argument.\n"


@pytest.mark.parametrize("words", [["-h"], ["models", "-h"], ["data", "check", "-h"], ["train", "-h"]])
def test_help_has_a_short_name(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    short = capsys.readouterr().out
    assert main([*words[:-1], "--help"]) == 0
    assert short == capsys.readouterr().out
    assert short.startswith("Usage: striate")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (StriateError("the loss is NaN"), 1, "error: the loss is NaN"),
        (UsageError("no such thing"), 2, "error: no such thing"),
        (DataError("no images"), 3, "error: no images"),
        (PermissionError(13, "Permission denied", "a/b"), 1, "error: Permission denied: a/b"),
        (ZeroDivisionError("1\n/ 0"), 1, "error: internal error: ZeroDivisionError: 1 / 0; run with --debug"),
    ],
)
def test_each_kind_of_failure_has_its_code_and_one_line(
    error: Exception,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("striate.cli.models._rows", _raises(error))
    assert main(["models"]) == code
    assert capsys.readouterr().err.splitlines() == [line]
    assert main(["models", "--debug"]) == code
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_ctrl_c_and_termination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.cli.models._rows", _raises(KeyboardInterrupt()))
    assert main(["models"]) == 130
    for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        before = signal.getsignal(number)
        monkeypatch.setattr("striate.cli.models._rows", lambda pattern, n=number: signal.raise_signal(n))
        assert main(["models"]) == code
        assert signal.getsignal(number) == before


def test_a_reader_that_leaves_early_makes_no_noise() -> None:
    code = "import sys; from striate.cli import main; sys.exit(main(['--help']))"
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert job.stdout is not None
    job.stdout.close()
    assert job.communicate()[1] == b""


def test_json_is_one_line_that_parses_even_with_nan(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"loss": float("nan"), "rows": [(1, float("inf"))], "name": "a\nb\udc80"}, True, "for people")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"loss": None, "rows": [[1, None]], "name": "a\nb\udc80"}


def test_small_words() -> None:
    assert shape("28,30,1") == (1, 28, 30)
    assert shape("224x224x3") == (3, 224, 224)
    assert one_of("svg", ("text", "svg"), "--to") == "svg"
    assert visible("a\x1b[31m\nb") == "a\\x1b[31m\\nb"
    for wrong in ("28", "28,28", "a,b,c", "0,1,1", "1e3,1,1"):
        with pytest.raises(UsageError, match="--input"):
            shape(wrong)


def _raises(error: BaseException):
    def rows(pattern: str | None):
        raise error

    return rows

"""`striate data`: make a folder, check it, look at it; every refusal is one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.cli import main


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """`striate data ARGV --json` -> exit code, what it printed as JSON, stderr."""

    def data(*argv: str):
        code = main(["data", *argv, "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out.splitlines()[-1]) if out else None, err

    return data


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_made_checked_and_looked_at(run) -> None:
    code, made, _ = run("make", "shapes", "shapes", "--classes", "4", "--per-class", "8", "--size", "48")
    assert (code, made) == (0, {"folder": "shapes", "classes": 4, "images": 32})
    code, report, _ = run("check", "shapes", "--sheet", "sheet.png")
    assert code == 0
    assert report["images"] == 32
    assert report["classes"] == dict.fromkeys(("circle", "square", "star", "triangle"), 8)
    assert report["problems"] == []
    assert not Path("sheet.png").exists()  # nothing to show
    assert run("preview", "shapes", "-n", "3", "--variants", "2")[1] == {"picture": "preview.png"}
    three_by_three = size_of("preview.png")
    assert run("preview", "shapes", "--first", "9", "-o", "first.png")[0] == 0
    assert size_of("first.png") == three_by_three
    assert not Path("home").exists()  # looking leaves no cache behind


def test_problems_are_listed_drawn_and_end_with_exit_code_3(run, capsys: pytest.CaptureFixture[str]) -> None:
    run("make", "shapes", "shapes", "--per-class", "6")
    Path("shapes/circle/cut.jpg").write_bytes(Path("shapes/circle/0000.jpg").read_bytes()[:500])
    Path("shapes/star").mkdir()
    Path("shapes/square/copy.jpg").write_bytes(Path("shapes/circle/0001.jpg").read_bytes())
    code, report, _ = run("check", "shapes", "--sheet", "sheet.png")
    assert code == 3
    found = {(p["kind"], tuple(p["files"])) for p in report["problems"]}
    assert found == {
        ("unreadable", ("circle/cut.jpg",)),
        ("empty-class", ("star",)),
        ("conflict", ("circle/0001.jpg", "square/copy.jpg")),
    }
    assert size_of(report["sheet"])[0] > 3 * 128
    assert main(["data", "check", "shapes"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "20 images of 3 classes: 3 problems"
    assert len(lines) == 4


def test_one_image_in_numbers(run, tmp_path: Path) -> None:
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    Image.fromarray(pixels).save("a.png")
    expected = "red 1x2\n  1   4\n\ngreen 1x2\n  2   5\n\nblue 1x2\n  3   6"
    assert run("preview", "a.png", "-o", "planes.png")[1] == {"picture": "planes.png", "values": expected}
    np.savez("b.npz", x_train=np.stack([pixels * k for k in range(1, 21)]), y_train=np.arange(20) % 2)
    values = {run("preview", "b.npz", "--image", str(i))[1]["values"] for i in range(14)}
    assert len(values) == 14  # 70 % of 20
    assert all(v.startswith("red 1x2\n") for v in values)


def test_columns_of_a_table(run) -> None:
    run("make", "shapes", "shapes", "--classes", "2", "--per-class", "5")
    rows = [f"{p},{p.parent.name},x" for p in sorted(Path("shapes").rglob("*.jpg"))]
    Path("t.csv").write_text("where,kind,path\n" + "\n".join(rows))
    code, report, _ = run("check", "t.csv", "--columns", "path=where,label=kind")
    assert code == 0
    assert report["classes"] == {"circle": 5, "square": 5}
    assert run("preview", "t.csv", "--columns", "path=where,label=kind", "--first", "4")[0] == 0


@pytest.mark.parametrize(
    ("argv", "code", "cause", "hint"),
    [
        (["check", "gone"], 3, "no data at 'gone'", ""),
        (["check", "mnits"], 3, "no data at 'mnits'", "did you mean mnist"),
        (["check", "digits", "--columns", "path"], 2, "columns: expected ROLE=NAME, got 'path'", "roles are"),
        (
            ["preview", "digits", "--augment", "fotos"],
            2,
            "unknown augmentation 'fotos'",
            "did you mean photos",
        ),
        (["preview", "digits", "--split", "tets"], 2, "--split: unknown value 'tets'", "did you mean test"),
        (["preview", "digits", "--image", "99999"], 2, "no image 99999 in train: it has 1258", ""),
        (["preview", "digits", "-o", "a.nonsense"], 3, "a.nonsense", ""),
        (["make", "shape", "d"], 2, "unknown value 'shape'", "did you mean shapes"),
        (["make", "shapes", "d", "--classes", "99"], 2, "99 classes: expected 2 to", ""),
        (["make", "shapes", ".", "--per-class", "1"], 2, "is not an empty folder", "nothing is overwritten"),
        (["download", "mnits"], 2, "mnits", "did you mean mnist"),
    ],
)
def test_refusals(run, argv: list[str], code: int, cause: str, hint: str) -> None:
    Path("there").touch()
    found, out, err = run(*argv)
    assert (found, out) == (code, None)
    assert cause in err
    assert hint in err
    assert len(err.splitlines()) <= 2
    assert [p.name for p in Path().iterdir()] == ["there"]


def test_offline_says_which_file_belongs_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "download", "mnist", "--offline"]) == 3
    cause, hint = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "home" / "data" / "mnist" / "train-images-idx3-ubyte.gz") in cause
    assert "https://" in hint

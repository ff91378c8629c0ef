"""Bad input of every kind: exit code, one line of cause, the nearest valid choice, nothing half-written."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.cli import main

NET = "INPUT(8,8,1) => CONV(4,3) => RELU => POOL => FC"
Outcome = tuple[int, str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs a command that must fail; checks what is common to all failures and gives (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> Outcome:
        before = set(tmp_path.rglob("*"))
        code = main([*argv, "--json"])
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert err.startswith("error: ")
        assert "internal error" not in err
        assert set(tmp_path.rglob("*")) == before, "something was written"
        return code, err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "digits", "--model", NET, "--epochs", "1", "--output", str(folder), "--json"]) == 0
    return folder


@pytest.mark.parametrize(
    ("net", "cause"),
    [
        ("INPUT(8,8,1) => CONVV(8) => FC", "line 1, column 17: unknown unit CONVV"),
        ("INPUT(8,8,1) => [CONV => RELU => FC", "expected => or ]"),
        ("INPUT(8,8,1) => CONV => RELU] => FC", "line 1, column 29"),
        ("INPUT(8,8,1) => CONV(8, -3) => FC", "kernel is -3"),
        ("INPUT(8,8,1) => CONV(8, 99999999999) => FC", "kernel is 99999999999"),
        ("INPUT(8,8,1) => CONV(8, 9, padding=valid) => FC", "(1, 8, 8)"),
        ("INPUT(8,8,1) => { CONV(8) + CONV(16) } => FC", "adds (8, 8, 8) and (16, 8, 8)"),
        ("INPUT(8,8,1) => CONV(1000000000) => FC", "filters is 1000000000"),
        ("INPUT(8,8,1) => [FC(1000000) => RELU]*1000 => FC", "parameters"),
        ("INPUT(8,8,1) => [CONV => RELU]*N => FC", "N is not bound"),
        ("INPUT(8,8,1) => CONV(8) => FC(7)", "(7,), 10 classes are wanted"),
        ("INPUT(8,8,1) => CONV(__import__) => FC", "__import__"),
        ("lenet6", "no network is called 'lenet6'"),
        ("no/such.diagram", "no diagram file at no/such.diagram"),
        ("no_such_package.module:factory", "can't find no_such_package.module:factory"),
        ("gone.safetensors", "gone.safetensors"),
    ],
)
def test_networks(refused, net: str, cause: str) -> None:
    code, err = refused("train", "digits", "--model", net, "--output", "run")
    assert code == 2
    assert cause in err


def test_the_nearest_units_and_networks_are_named(refused) -> None:
    assert "did you mean CONV" in refused("anatomy", "INPUT(8,8,1) => CONVV(8) => FC")[1]
    assert "lenet5" in refused("anatomy", "lenet6")[1].splitlines()[1]


@pytest.mark.parametrize(
    ("flags", "cause", "hint"),
    [
        (["--opt", "adamm"], "opt: ", "did you mean adam"),
        (["--sched", "cosin"], "sched: ", "did you mean cosine"),
        (["--precision", "fp8"], "precision: ", "did you mean fp"),
        (["--augment", "shfit"], "augment: ", "did you mean shift"),
        (["--device", "cud"], "device: ", ""),
        (["--device", "cuda:99"], "no device cuda:99", ""),
        (["--epochs", "ten"], "epochs: ", ""),
        (["--epochs", "0"], "epochs: ", ""),
        (["--lr", "0"], "lr: ", ""),
        (["--lr", "nan"], "lr: ", ""),
        (["--lr", "1e309"], "lr: ", ""),
        (["--batch-size", "-1"], "batch_size: ", ""),
        (["--smoothing", "1.5"], "smoothing: ", ""),
        (["--split", "0.5,0.4"], "split: ", ""),
        (["--split", "0.9,0.9,0.9"], "split: ", ""),
        (["--img-size", "1,2,3"], "img_size: ", ""),
        (["--img-size", "9223372036854775808"], "img_size: expected less than or equal to 4096", ""),
        (["--learning-rate", "3"], "unknown flag --learning-rate", "did you mean --lr?"),
        (["--augment", "flip"], "augment: unknown augmentation 'flip'", "did you mean horizontal_flip?"),
        (["--augment", "rotate(40)"], "unknown augmentation 'rotate'", "did you mean affine(rotation=10)?"),
        (["--resume"], "--resume: expected a run folder, got --json", "--resume RUN"),
        (["--epochz", "3"], "unknown flag --epochz", "did you mean --epochs"),
        (["--weight_decay", "3"], "unknown flag --weight_decay", "did you mean --weight-decay"),
        (["--resume", "elsewhere"], "--resume goes on in the folder of the run: leave --output out", ""),
        (["-c", "gone.yaml"], "gone.yaml", ""),
    ],
)
def test_flags(refused, flags: list[str], cause: str, hint: str) -> None:
    code, err = refused("train", "digits", "--model", NET, "--output", "run", *flags)
    assert code == 2
    assert len(err.splitlines()) <= 2
    assert cause in err
    assert hint in err


def test_resume_where_no_run_is(refused) -> None:
    code, err = refused("train", "--resume", "elsewhere")
    assert code == 2
    assert "elsewhere is no run folder" in err
    assert "`striate train` writes one" in err


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{x}: &{x} [{','.join([f'*{y}'] * 9)}]\n" for x, y in zip("bcdefghi", "abcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "cause", "hint"),
    [
        ("leraning_rate: 0.1", "unknown field leraning_rate", ""),
        ("epoch: 3", "unknown field epoch", "did you mean epochs"),
        ("epochs: many", "epochs: expected", ""),
        ("[1, 2", "config.yaml", ""),
        ("just words", "config.yaml", ""),
        ("seed: !!python/object/apply:os.system ['touch canary']", "config.yaml", ""),
        (BOMB, "config.yaml, line 1, column 4: anchors and aliases have no meaning here", ""),
        ("lr: 1\nlr: 2", "config.yaml, line 2, column 1: lr is set already, in line 1", ""),
        ("\xff\xfe", "config.yaml", ""),
    ],
)
def test_config_files(refused, tmp_path: Path, text: str, cause: str, hint: str) -> None:
    (tmp_path / "config.yaml").write_bytes(text.encode("latin-1"))
    code, err = refused("train", "digits", "--model", NET, "-c", "config.yaml", "--output", "run")
    assert code == 2
    assert len(err.splitlines()) <= 2
    assert cause in err
    assert hint in err


def images(folder: Path, **classes: int) -> Path:
    """A folder of noise with so many images a class."""
    draw = np.random.default_rng(0)
    for name, n in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def datasets(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """(DATA, what the line of cause must say)"""
    yield "no/such/folder", "no/such/folder"
    (tmp_path / "empty").mkdir()
    yield "empty", "empty"
    images(tmp_path / "one", cat=5)
    yield "one", "one class only ('cat')"
    images(tmp_path / "hollow", cat=5, dog=0)
    yield "hollow", "class folder 'dog'"
    images(tmp_path / "foul", cat=5, dog=5)
    (tmp_path / "foul/dog/3.png").write_text("<html>not found</html>")
    yield "foul", "3.png"
    images(tmp_path / "uneven/train", cat=5, dog=5)
    images(tmp_path / "uneven/val", cat=5, cow=5)
    yield "uneven", "cow"
    (tmp_path / "plain.txt").write_text("hello")
    yield "plain.txt", "plain.txt"
    np.savez(tmp_path / "odd.npz", pixels=np.zeros((2, 8, 8)))
    yield "odd.npz", "odd.npz"
    np.savez(tmp_path / "objects.npz", x_train=np.array([{}, {}]), y_train=np.array([0, 1]))
    yield "objects.npz", "objects.npz"
    (tmp_path / "cut.npz").write_bytes((tmp_path / "odd.npz").read_bytes()[:100])
    yield "cut.npz", "cut.npz"
    yield "digitz", "digitz"


def test_data(refused, tmp_path: Path) -> None:
    for data, cause in list(datasets(tmp_path)):
        code, err = refused("train", data, "--model", NET, "--output", "run")
        assert (code, len(err.splitlines()) <= 2, cause in err) == (3, True, True), f"{data}: {code} {err}"


def test_two_files_that_are_no_images(refused, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "empty.png").write_bytes(b"")
    for file in ("page.jpg", "empty.png", "gone.png", "\x1b[31mred.png"):
        code, err = refused("predict", str(trained), file)
        assert code == 3
        assert file.replace("\x1b", "x1b") in err.replace("\\", "")
        assert "\x1b" not in err
        assert len(err.splitlines()) <= 2
    (tmp_path / "folder").mkdir()
    assert refused("predict", str(trained), "folder") == (3, "error: folder: no images in this folder\n")


@pytest.mark.parametrize("verb", ["evaluate", "report"])
def test_folders_that_are_no_runs(refused, tmp_path: Path, verb: str) -> None:
    (tmp_path / "folder").mkdir()
    for folder in ("gone", "folder"):
        code, err = refused(verb, folder)
        assert code == 2
        assert f"{folder} is no run folder" in err


def test_a_folder_in_use_is_not_written_to(refused, trained: Path) -> None:
    code, err = refused("train", "digits", "--model", NET, "--output", str(trained))
    assert code == 2
    assert f"{trained} is not empty" in err
    assert refused("train", "--resume", "gone")[0] == 2


def safetensors(header: bytes | dict, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def damaged(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """The header attacks of the safetensors test suite, and plainer damage."""
    square = {"dtype": "I32", "shape": [2, 2], "data_offsets": [0, 16]}
    yield "nothing", b""
    yield "cut short", whole[: len(whole) // 2]
    yield "two bytes short", whole[:-2]
    yield "two bytes long", whole + b"\0\0"
    yield "zeros", bytes(len(whole))
    yield "pickle", b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93."
    yield "header of 2^64-1 bytes", struct.pack("<Q", 2**64 - 1)
    yield "header without body", struct.pack("<Q", 60)
    yield "huge header", safetensors(b"{}", length=100_000_001)
    yield "not UTF-8", safetensors(b"\xff\xfe")
    yield "bare brace", safetensors(b"{")
    yield "offsets too small", safetensors({"a": {**square, "data_offsets": [0, 4]}}, bytes(16))
    yield "shape overflow", safetensors({"a": {**square, "shape": [2, 2**64 - 2]}}, bytes(16))
    yield "size overflow", safetensors({"a": {**square, "shape": [2, 2**63 - 1]}}, bytes(16))
    yield "overlap", safetensors({f"a{i}": square for i in range(10)}, bytes(16))
    yield "length field", safetensors({"a": square}, bytes(16), length=1000)
    yield "no metadata", safetensors({"a": square}, bytes(16))


def test_model_files_that_are_damaged(refused, trained: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    for kind, content in damaged((trained / "model.safetensors").read_bytes()):
        (tmp_path / "m.safetensors").write_bytes(content)
        code, err = refused("predict", "m.safetensors", "image.png")
        assert (code, len(err.splitlines()) <= 2, "m.safetensors" in err) == (3, True, True), (
            f"{kind}: {code} {err}"
        )


def test_a_model_file_of_another_version(refused, trained: Path, tmp_path: Path) -> None:
    whole = (trained / "model.safetensors").read_bytes()
    newer = whole.replace(b'"striate 1"', b'"striate 2"')
    assert newer != whole
    (tmp_path / "m.safetensors").write_bytes(newer)
    code, err = refused("predict", "m.safetensors", "image.png")
    assert code == 3
    assert "'striate 2'" in err
    assert "'striate 1'" in err

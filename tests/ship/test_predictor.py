"""One predictor for everything that holds pictures, the same answers from every engine."""

import io
import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import striate
from striate.cli import main
from striate.errors import DataError, UsageError
from striate.files import sha256
from striate.ship import Predictor, engines, formats, load
from striate.ship.convert import converted
from striate.ship.places import certificate_path
from striate.ship.places import files as files_of
from striate.ship.predictor import load_for
from striate.train import Run
from striate.train.engine import pick_dtype

EXACT = 1e-5


def native() -> float:
    """How far OpenVINO and torch may stray: they compute in bfloat16 where the processor does."""
    return 2e-2 if pick_dtype(torch.device("cpu"), "auto") == torch.bfloat16 else EXACT


@pytest.fixture(scope="module")
def predictor(run: Run) -> Predictor:
    return load(run.folder, "onnx")


@pytest.mark.parametrize("engine", ["openvino", "onnx", "torch"])
@pytest.mark.parametrize("n", [1, 16, 50])
def test_every_engine_gives_the_probabilities_of_evaluation(run: Run, engine: str, n: int) -> None:
    data = run.dataset()
    pixels = data.test.read(range(n))
    expected = run.model().probabilities(pixels, "cpu", "fp32").numpy()
    got = load(run.folder, engine).probabilities(pixels.numpy())
    assert np.abs(got - expected).max() < (EXACT if engine == "onnx" else native())


@pytest.mark.parametrize("to", ["onnx", "openvino", "torch"])
def test_an_exported_file_cuts_a_picture_once(
    run: Run, predictor: Predictor, to: str, tmp_path: Path
) -> None:
    kind = formats.FORMATS[to]
    path = tmp_path / f"m{kind.suffixes[0]}"
    make = lambda: converted(run.model(), run.folder / "model.safetensors")  # noqa: E731
    kind.write(run.model(), make, path)
    certificate_path(path).write_text(json.dumps({"sha256": {p.name: sha256(p) for p in files_of(path)}}))
    x = np.random.default_rng(0).integers(0, 256, (5, 40, 70), dtype=np.uint8)
    expected = np.stack([p.probabilities for p in predictor(x[..., None])])
    tolerance = native() if to == "openvino" else EXACT
    got = load(path)
    assert np.abs(np.stack([p.probabilities for p in got(x[..., None])]) - expected).max() < tolerance
    assert np.abs(kind.open(path).call(x[..., None]) - expected).max() < EXACT


def test_files_bytes_arrays_folders_and_generators_agree(predictor: Predictor, digits_folder: Path) -> None:
    files = sorted(digits_folder.iterdir())
    named = predictor(files)
    expected = [p.label for p in named]
    assert [p.source for p in named] == [str(f) for f in files]
    assert [p.label for p in predictor(digits_folder)] == expected
    assert [p.label for p in predictor(f.read_bytes() for f in files)] == expected
    arrays = np.stack([cv2.imread(str(f), cv2.IMREAD_GRAYSCALE) for f in files])
    assert [p.label for p in predictor(arrays[..., None])] == expected
    assert [p.label for p in predictor(list(arrays))] == expected
    assert predictor(np.repeat(arrays[3][..., None], 3, -1))[0].label == expected[3]
    assert predictor(str(files[0]))[0].probabilities == pytest.approx(named[0].probabilities, abs=1e-6)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F"]
)
@pytest.mark.parametrize("turned", [False, True])
def test_an_image_of_pillow_is_answered_as_its_file(
    predictor: Predictor, photo: np.ndarray, mode: str, turned: bool
) -> None:
    image = Image.fromarray(photo)
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(image.convert("L"))
        values = {
            "I;16": grey.astype(np.uint16) * 257,
            "I": grey.astype(np.int32) * 257,
            "F": grey / np.float32(255),
        }
        image = Image.fromarray(values[mode])
    elif mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    else:
        image = image.quantize(40) if mode == "P" else image.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(photo[..., 0]))
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    image.info["exif"] = exif.tobytes()
    file = io.BytesIO()
    image.convert("RGB").save(file, "PNG", exif=exif) if mode == "HSV" else image.save(
        file, "TIFF", exif=exif
    )
    (expected,) = predictor(file.getvalue())
    (held,) = predictor(image)
    (opened,) = predictor(Image.open(file))
    for answer in (held, opened):
        assert np.abs(answer.probabilities - expected.probabilities).max() < 1e-6


def test_an_image_of_pillow_that_is_broken_is_refused(predictor: Predictor) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, "BMP")
    with pytest.raises(DataError, match="an image of mode RGB: "):
        predictor(Image.open(io.BytesIO(file.getvalue()[:-100])))


def test_open_files_are_read_whole(predictor: Predictor, digits_folder: Path) -> None:
    file = sorted(digits_folder.iterdir())[3]
    (expected,) = predictor(file)
    with open(file, "rb") as one, open(file, "rb") as two:
        answers = [*predictor(one), *predictor([two, io.BytesIO(file.read_bytes())])]
    assert [a.source for a in answers] == [str(file), str(file), "[1]"]
    assert all(a.label == expected.label for a in answers)
    with open(file, encoding="latin-1") as text, pytest.raises(UsageError, match="TextIOWrapper") as error:
        predictor(text)
    assert "'rb'" in error.value.hint
    with open(file, "rb") as read:
        read.read()
        with pytest.raises(DataError, match="nothing is left to read") as left:
            predictor(read)
    assert "seek(0)" in left.value.hint


def test_a_float_picture_is_its_8_bit_version_alone_and_in_any_batch(predictor: Predictor) -> None:
    bright = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1), np.uint8)
    bright[0] //= 80  # nearly black, but on the scale of the others
    expected = np.stack([p.probabilities for p in predictor(bright)])
    for batch in (bright / 255, (bright / 255).astype(np.float32) * np.float32(1.0000001), bright.astype(int),
                  bright.astype(float), bright.astype(np.uint16) * 257):  # fmt: skip
        together = np.stack([p.probabilities for p in predictor(batch)])
        alone = np.stack([predictor(one)[0].probabilities for one in batch])
        assert (np.abs(together - expected).max(), np.abs(alone - expected).max()) < (1e-6, 1e-6)
    with pytest.raises(DataError, match=r"0\.\.1 and on 0\.\.255 together"):
        predictor(np.concatenate((bright / 255, bright.astype(float))))


def test_a_predictor_travels_to_another_process(run: Run, digits_folder: Path) -> None:
    files = sorted(digits_folder.iterdir())[:3]
    for path in (run.folder, run.folder / "model.safetensors"):
        sent = load(path, "torch", batch_size=2)
        come = pickle.loads(pickle.dumps(sent))
        assert (come.classes, come.engine, come.batch_size) == (sent.classes, "torch", 2)
        assert [p.label for p in come(files)] == [p.label for p in sent(files)]
    with pytest.raises(TypeError, match="not loaded from a file"):
        pickle.dumps(Predictor(("a",), sent.preprocess, lambda x: x, "fake"))


def test_predictions_are_those_of_the_model_file(run: Run, predictor: Predictor, digits_folder: Path) -> None:
    files = sorted(digits_folder.iterdir())
    for mine, theirs in zip(predictor(files, top=10), run.model().predict(files, top=10), strict=True):
        assert mine.to_json() == {
            **theirs,
            "probability": pytest.approx(theirs["probability"], abs=native()),
            "top": pytest.approx(theirs["top"], abs=native()),
        }


def test_broken_pictures_among_many_are_named_at_the_end(
    run: Run, digits_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("00.png", "01.png"):
        shutil.copy(digits_folder / name, tmp_path)
    bad = [tmp_path / "00_bad.png", tmp_path / "02_bad.png"]
    bad[0].write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    argv = ["predict", str(run.folder), str(tmp_path), "--json"]
    assert main(argv) == 3
    out, err = capsys.readouterr()
    assert ["error" in row for row in json.loads(out)] == [False, True, False]
    assert err.startswith(f"error: '{bad[0]}': the PNG is cut short")
    bad[1].write_bytes(b"<html>")
    assert main(argv) == 3
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 4
    assert err.startswith("error: 2 of 4 images can't be read\n")
    assert all(str(path) in err for path in bad)


def test_an_empty_folder_among_files_leaves_the_others_answered(
    run: Run, digits_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes").write_text("x")
    (tmp_path / "clip.avi").write_bytes(b"RIFF\0\0\0\0AVI ")
    files = [digits_folder / "00.png", tmp_path / "empty", tmp_path / "clip.avi", digits_folder / "01.png"]
    assert main(["predict", str(run.folder), *map(str, files), "--json"]) == 3
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert ["label" in row for row in rows] == [True, False, False, True]
    assert f"{tmp_path / 'empty'}: no images in this folder; passed over: 1 text file: 'notes'" in err
    assert "2 of 4 images can't be read" in err


def test_bytes_decide_what_is_looked_at_in_a_folder(
    run: Run, digits_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(digits_folder / "00.png", tmp_path / "picture")
    shutil.copy(digits_folder / "01.png", tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("x")
    assert main(["predict", str(run.folder), str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert [row["file"] for row in json.loads(out)] == [str(tmp_path / "picture")]
    assert err.splitlines() == [
        f"{tmp_path}: passed over: 1 text file: 'notes.txt'",
        f"{tmp_path}: passed over: 1 hidden file: '.hidden.png'",
    ]


def test_a_generator_is_not_read_far_ahead(predictor: Predictor) -> None:
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield np.zeros((8, 8), np.uint8)

    answers = predictor.stream(endless(), batch_size=2)
    next(answers)
    answers.close()
    assert len(taken) <= 8


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames, each of one grey."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(10):
        writer.write(np.full((48, 64, 3), 25 * i, np.uint8))
    writer.release()
    return path


def test_every_frame_of_a_video(predictor: Predictor, video: Path) -> None:
    answers = predictor(video)
    assert [p.source for p in answers] == [f"{video}#{i}" for i in range(10)]
    grey = predictor([np.full((48, 64), 25 * i, np.uint8) for i in range(10)])
    for frame, still in zip(answers, grey, strict=True):
        assert (
            np.abs(frame.probabilities - still.probabilities).max() < 0.05
        )  # MJPEG is off by a level or two


@pytest.mark.parametrize(
    ("source", "error", "cause"),
    [
        ("gone.png", DataError, "gone.png"),
        (b"no picture", DataError, "'bytes'"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), DataError, "array: shape"),
        (np.zeros((0, 4), np.uint8), DataError, "array: shape"),
        (np.full((4, 4), np.nan), DataError, "NaN"),
        (None, UsageError, "no pictures in NoneType"),
        (True, UsageError, "no pictures in True"),
        (Image.new("RGB", (0, 4)), DataError, "without pixels"),
        (io.BytesIO(), DataError, "'file': the file is empty"),
        ("gone.mp4", DataError, "no such file"),
    ],
)
def test_what_holds_no_picture(predictor: Predictor, source: object, error: type, cause: str) -> None:
    with pytest.raises(error, match=cause):
        predictor(source)


def test_load_is_at_the_front_door_and_brings_nothing_along(run: Run) -> None:
    assert striate.load is load
    with pytest.raises(UsageError, match="unknown engine 'openvno'") as error:
        striate.load(run.folder, "openvno")
    assert "openvino" in error.value.hint
    with pytest.raises(UsageError, match="no run folder"):
        striate.load(run.folder.parent)
    with pytest.raises(UsageError, match="unknown kind of exported file"):
        striate.load(run.folder / "summary.json")


def test_few_files_do_not_wait_for_a_conversion(run: Run) -> None:
    assert load_for(run.folder, [Path("a.png")]).engine == "torch"
    assert load_for(run.folder, [run.folder]).engine == engines.pick()
    assert load_for(run.folder, [Path("a.png")], "onnx").engine == "onnx"


def test_several_labels_of_one_picture(predictor: Predictor) -> None:
    both = Predictor(("a", "b", "c"), predictor.preprocess, lambda x: x, "fake", several=True)
    row = np.array([0.9, 0.2, 0.6], np.float32)
    answer = both.prediction("x", row)
    assert (answer.label, answer.labels, answer.probability) == ("a|c", ("a", "c"), pytest.approx(0.6))
    none = both.prediction("x", np.array([0.4, 0.2, 0.1], np.float32))
    assert (none.label, none.labels, none.probability) == ("", (), pytest.approx(0.6))

"""`striate explain`: pictures where they were asked for, JSON for scripts, one line for what can't be."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.cli import main
from striate.explain import METHODS

NET = "INPUT(8,8,1) => CONV(4,3) => RELU => POOL => CONV(4,3) => RELU => FC"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained") / "run"
    assert main(["train", "digits", "--model", NET, "--epochs", "1", "--output", str(folder), "--json"]) == 0
    return folder


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


def told(capsys, *argv):
    assert main([*map(str, argv), "--json"]) == 0, capsys.readouterr().err
    out, _ = capsys.readouterr()
    return json.loads(out.splitlines()[-1])


def test_a_heat_map_of_the_predicted_class(run, digit, capsys):
    (made,) = told(capsys, "explain", run, digit)
    assert made["picture"] == str(run / "explain" / "digit-grad-cam.png")
    with Image.open(made["picture"]) as picture:
        assert picture.mode == "RGB"
    assert made["layer"] == "relu2"
    predictions = told(capsys, "predict", run, digit)
    assert (made["label"], made["target"]) == (predictions[0]["label"],) * 2
    assert made["probability"] == pytest.approx(predictions[0]["probability"], abs=0.02)  # bf16 there


def test_methods_class_layer_folder_and_arrays(run, digit, capsys, tmp_path):
    words = ["-m", "layer-cam", "-m", "saliency", "--target", "7", "--layer", "relu1", "-o", tmp_path / "out"]
    (made,) = told(capsys, "explain", run / "model.safetensors", digit, *words, "--save-npz")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["digit-methods.npz", "digit-methods.png"]
    assert made["target"] == "7"
    with np.load(made["arrays"]) as arrays:
        assert arrays["layer-cam.raw"].shape == (8, 8)


def test_all_heat_maps_beside_other_pictures(run, digit, capsys, tmp_path):
    words = ["-m", "all", "-m", "deconvnet", "-m", "kernels", "-m", "grad-cam", "-o", tmp_path / "out"]
    made = told(capsys, "explain", run, digit, *words, "--save-npz")
    names = ["digit-methods.png", "digit-deconvnet.png", "digit-kernels.png"]
    assert [Path(facts["picture"]).name for facts in made] == names
    with np.load(made[0]["arrays"]) as arrays:
        assert {name.split(".")[0] for name in arrays} == {"image", *METHODS}
    assert "sobel x" in made[2]["kernels"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-m", "gradcam"], 2, "unknown method 'gradcam'\nhint: did you mean grad-cam"),
        (["--layer", "relu3"], 2, "no layer 'relu3' in Network\nhint: did you mean relu"),
        (["--layer", "fc1"], 2, "it has no width and height"),
        (["--target", "ten"], 2, "unknown class 'ten'"),
        (["--opacity", "2"], 2, "opacity"),
    ],
)
def test_bad_requests(run, digit, capsys, tmp_path, words, code, message):
    assert main(["explain", str(run), str(digit), "-o", str(tmp_path / "out"), *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert not (tmp_path / "out").exists()


def test_bad_files(run, capsys, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    assert main(["explain", str(run), str(tmp_path / "broken.png")]) == 3
    assert "broken.png" in capsys.readouterr().err
    assert main(["explain", str(run), str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["explain", str(tmp_path / "none"), "x.png"]) == 2
    assert "is no run folder" in capsys.readouterr().err
    assert main(["explain", str(run)]) == 2
    assert "none was given" in capsys.readouterr().err

"""`striate export RUN --to keras`: Keras opens what a run here has learnt."""

import keras
import pytest
import torch

from striate.data import make_shapes
from striate.errors import UsageError
from striate.train import recipe, train
from striate.train.hand_over import hand_over

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_keras_answers_as_the_run_does(shared_data, tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path / "home"))
    make_shapes(tmp_path / "data", classes=3, per_class=12, size=32)
    original = shared_data / "weights" / "mlperf_tiny_resnet8_cifar10.h5"
    settings = {
        "data": str(tmp_path / "data"),
        "model": "resnet8",
        "weights": str(original),
        "freeze": "features",
    }
    run = train(recipe({**settings, "workers": 0}), tmp_path / "run", report=False)
    done = hand_over(run.folder, "keras")
    assert done["path"] == str(tmp_path / "run" / "keras.weights.h5")
    assert done["max_abs_diff"] < 1e-5
    assert (done["top1_agreement"], done["n"]) == (1.0, 5)

    whole = keras.models.load_model(original, compile=False)
    inputs = whole.layers[-2].output
    net = keras.Model(whole.input, keras.layers.Dense(3, name="dense")(inputs))
    net.load_weights(done["path"])
    model = run.model()
    x = model.preprocess.normalise(run.dataset().test.read(range(5)))
    with torch.inference_mode():
        mine, theirs = model.module.eval()(x), net(x.permute(0, 2, 3, 1), training=False)
    assert (mine - theirs).abs().max() <= 1e-4 * mine.abs().max()


def test_what_no_peer_has(shared_data, tmp_path):
    settings = {"data": "digits", "model": "INPUT(8,8,1) => FC", "epochs": 1, "health": False}
    train(recipe(settings), tmp_path / "run", report=False)
    with pytest.raises(UsageError, match="timm has no network like this one"):
        hand_over(tmp_path / "run", "timm")

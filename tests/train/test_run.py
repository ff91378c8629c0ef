"""A run leaves a folder that says everything, evaluates to what it said, and goes on where it stopped."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from striate.data import load
from striate.errors import DataError, UsageError
from striate.train import Run, recipe, resume, train
from striate.train.session import repeat_command

NET = "INPUT(8,8,1) => CONV(8,3) => BN => RELU => POOL(2) => FC(32) => RELU => FC(10)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "r"
    return train(recipe({"data": "digits", "model": NET, "epochs": 3, "lr": 0.01}), folder, report=False)


def test_it_learns_digits(run):
    assert run.summary["test_accuracy"] > 0.8  # chance is 0.1
    assert run.summary["epochs"] == 3
    # 8 kernels 3x3 (no bias before BN), 2 * 8 of batch norm, 4*4*8 -> 32, 32 -> 10
    assert run.summary["params"] == 9 * 8 + 16 + (128 + 1) * 32 + (32 + 1) * 10


def test_a_run_of_a_machine_with_a_gpu_is_evaluated_without_one(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "r")
    path = tmp_path / "r" / "recipe.yaml"
    path.write_text(
        path.read_text()
        .replace("device: auto", "device: cuda:7")
        .replace("\nprecision: auto", "\nprecision: fp16")
    )
    there = Run.open(tmp_path / "r")
    assert (there.recipe.device, there.recipe.precision) == ("cuda:7", "fp16")
    assert there.evaluate().accuracy == run.summary["test_accuracy"]


def test_offline_is_said_of_the_data_too(tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"^offline, and .*train-images"):
        train(recipe({"data": "mnist", "model": NET, "offline": True}), tmp_path / "r")


def test_everything_is_in_the_folder(run):
    names = {p.name for p in run.folder.iterdir()}
    wanted = {
        "recipe.yaml",
        "splits.json",
        "metrics.csv",
        "model.safetensors",
        "last",
        "environment.json",
        "log.txt",
        "health.jsonl",
    }
    assert wanted | {"command.txt", "summary.json"} == names
    assert run.environment["torch"] == torch.__version__
    with (run.folder / "metrics.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [float(r["epoch"]) for r in rows] == [1, 2, 3]


def test_the_recipe_saved_is_the_effective_one(run):
    assert (run.recipe.lr, run.recipe.img_size, run.recipe.in_chans, run.recipe.num_classes) == (
        0.01,
        (8, 8),
        1,
        10,
    )


def test_the_command_repeats_the_run():
    r = recipe({"data": "my data", "model": NET, "lr": 0.5, "img_size": 32})
    assert repeat_command(r) == f"striate train 'my data' --model '{NET}' --img-size 32,32 --lr 0.5"


def test_evaluate_gives_what_training_reported(run):
    again = Run.open(run.folder).evaluate()
    assert again.accuracy == run.summary["test_accuracy"]
    assert again.loss == pytest.approx(run.summary["test_loss"], rel=1e-5)


def test_other_data_is_taken_whole(run, tmp_path):
    digits = load("digits", split=(1.0, 0.0, 0.0)).train
    rows = range(0, 1797, 9)
    x, y = 255 - digits.read(rows)[:, 0].numpy(), digits.labels[list(rows)]  # which the run hasn't seen
    np.savez(tmp_path / "some.npz", x=x, y=y)
    np.savez(tmp_path / "divided.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    whole = run.evaluate(str(tmp_path / "some.npz"))
    assert len(whole) == 200
    np.testing.assert_array_equal(np.bincount(whole.labels), np.bincount(y))
    assert len(run.evaluate(str(tmp_path / "divided.npz"))) == 50


def test_the_weights_kept_are_those_of_the_best_validation_epoch(run):
    best = max(run.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert run.summary["best_epoch"] == best["epoch"]
    assert run.evaluate(split="val").accuracy == pytest.approx(best["val_accuracy"])


def test_the_splits_are_those_of_the_run(run):
    stored = json.loads((run.folder / "splits.json").read_text())
    data = run.dataset()
    assert list(data.test.ids) == stored["test"]["ids"]
    parts = [set(p.ids) for p in (data.train, data.val, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797


def test_the_same_seed_gives_the_same_bits_and_another_does_not(run, tmp_path):
    settings = {"data": "digits", "model": NET, "epochs": 3, "lr": 0.01}
    same = train(recipe(settings), tmp_path / "same", report=False)
    other = train(recipe({**settings, "seed": 1}), tmp_path / "other", report=False)
    weights = [r.model().module.state_dict() for r in (run, same, other)]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert not all(torch.equal(weights[0][k], weights[2][k]) for k in weights[0])


def test_a_finished_run_can_be_extended(run, tmp_path):
    folder = tmp_path / "r"
    train(recipe({"data": "digits", "model": NET, "epochs": 2, "sched": "constant"}), folder, report=False)
    longer = resume(folder, epochs=4, report=False)
    straight = train(
        recipe({"data": "digits", "model": NET, "epochs": 4, "sched": "constant"}),
        tmp_path / "s",
        report=False,
    )
    keys = ("epoch", "train_loss", "val_loss", "val_accuracy")
    assert [[row[k] for k in keys] for row in longer.history] == [
        [row[k] for k in keys] for row in straight.history
    ]
    assert longer.summary["test_accuracy"] == straight.summary["test_accuracy"]
    assert resume(folder, report=False).summary == longer.summary  # finished: nothing to do


def test_a_folder_in_use_is_not_overwritten(run):
    with pytest.raises(UsageError, match="is not empty") as caught:
        train(recipe({"data": "digits", "model": NET}), run.folder)
    assert "--resume" in caught.value.hint


def test_default_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    r = recipe({"data": "digits", "model": NET, "epochs": 1})
    assert [str(train(r, report=False).folder) for _ in range(2)] == [
        "runs/1-net-digits",
        "runs/2-net-digits",
    ]


def test_nothing_is_left_behind_when_the_recipe_cannot_work(tmp_path):
    with pytest.raises(UsageError):
        train(recipe({"data": "digits", "model": "INPUT(8,8,1) => CONV(4,3) => FC(7)"}), tmp_path / "r")
    with pytest.raises(UsageError, match="binary cross-entropy"):
        train(recipe({"data": "digits", "model": NET, "loss": "binary-cross-entropy"}), tmp_path / "r")
    with pytest.raises(DataError, match="10 classes"):
        train(recipe({"data": "digits", "model": NET, "num_classes": 7}), tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_no_run_folder(tmp_path):
    with pytest.raises(UsageError, match="is no run folder"):
        Run.open(tmp_path)


def test_predict_reads_files_as_training_did(run, tmp_path):
    import cv2

    data = load("digits")
    pixels = data.test.read(range(20))
    files = []
    for i, image in enumerate(pixels):
        files.append(str(tmp_path / f"{i}.png"))
        assert cv2.imwrite(files[-1], image[0].numpy())
    answers = run.model().predict(files)
    expected = run.model().probabilities(pixels)
    assert [a["file"] for a in answers] == files
    assert [a["label"] for a in answers] == [data.classes[i] for i in expected.argmax(1)]
    np.testing.assert_allclose([a["probability"] for a in answers], expected.max(1).values, rtol=1e-5)
    assert sum(answers[0]["top"].values()) <= 1.0001

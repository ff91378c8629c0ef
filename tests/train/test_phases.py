"""Runs that start from trained weights, on a small folder and with a small network that was trained before."""

import os
import shutil
import signal
import zipfile
from pathlib import Path

import pytest
import torch

from striate import zoo
from striate.data import make_shapes
from striate.errors import UsageError
from striate.train import Run, checkpoint, load, phases, pretrained, recipe, resume, train
from striate.train.events import Listener
from striate.train.phases import Thaw
from striate.train.session import rehearse
from striate.train.signals import Interrupted
from striate.transfer import load_weights, save_weights

QUICK = {
    "img_size": 32,
    "head_epochs": 4,
    "batch_size": 16,
    "workers": 0,
    "health": False,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "data"
    make_shapes(folder, classes=3, per_class=20, size=32)
    return folder


@pytest.fixture(autouse=True)
def _home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture
def weights(shared_data):
    return str(shared_data / "weights" / "mlperf_tiny_resnet8_cifar10.h5")


def run(shapes, weights, output, listeners=(), **more):
    epochs = {} if "freeze" in more else {"epochs": 2}
    if more.get("head") in ("logistic", "knn") or not {"freeze", "unfreeze"} & more.keys():
        epochs |= {"head_epochs": None}
    if "freeze" in more and more.get("head") in ("logistic", "knn"):
        epochs |= {"batch_size": None}
    settings = {"data": str(shapes), "model": "resnet8", "weights": weights, **QUICK, **epochs, **more}
    return train(recipe(settings), output, listeners, report=False)


def values(module, prefix):
    return {k: v.clone() for k, v in module.state_dict().items() if k.startswith(prefix)}


def test_published_weights_are_a_model_at_once(shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / "imagenet-samples-250.zip") as z:
        photos = [z.extract(name, tmp_path) for name in ("n01440764_tench.JPEG", "n01514859_hen.JPEG")]
    model = pretrained("mobilenet_v2", shared_data / "weights" / "mobilenet_v2_imagenet.weights.h5")
    again = load(model.save(tmp_path / "mobilenet.safetensors"))
    assert [answer["label"] for answer in again.predict(photos)] == ["tench", "hen"]
    assert again.origin["arguments"] == {"padding": "same", "bn_eps": 1e-3}


def test_a_run_is_where_another_starts_and_what_it_leaves_out_is_told(shapes, weights, tmp_path, caplog):
    first = run(shapes, weights, tmp_path / "first", freeze="features", head="mlp", head_epochs=1)
    second = run(shapes, str(first.folder), tmp_path / "second", freeze="features", head_epochs=1)
    before, after = (values(done.model().module, "stages") for done in (first, second))
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert caplog.messages == [f"{first.folder / 'model.safetensors'}: its mlp head was left out"]


def test_curves_and_words_of_both_phases(shapes, weights, tmp_path):
    from striate.train.report import curves, phases_told, write_report

    done = run(shapes, weights, tmp_path / "run", unfreeze=1, compare_scratch=True)
    head, outcome = phases_told(done)
    assert head == (
        "Up to epoch 4 the head was trained alone, on features of the frozen network; "
        "from 5 on, the last stage too."
    )
    assert outcome.startswith("From scratch, the same network reached ")
    page = write_report(done).read_text(encoding="utf-8")
    assert "from scratch, validation" in page
    charts = dict(curves(done.history, done.scratch))
    assert charts["Accuracy"].count('class="scratch"') == 1
    assert charts["Learning rate"].count('class="scratch"') == 0


@pytest.mark.parametrize("head", ["linear", "mlp", "logistic", "knn"])
def test_a_head_on_frozen_features_is_an_ordinary_run(head, shapes, weights, tmp_path):
    done = run(shapes, weights, tmp_path / "run", freeze="features", head=head)
    model, before = done.model(), load_weights("resnet8", weights).module
    for part in ("stem", "stages"):
        after = values(model.module, part)
        assert all(torch.equal(v, after[k]) for k, v in values(before, part).items())
    assert model.preprocess.std == (1 / 255,) * 3  # it came with the weights
    assert model.classes == ("circle", "square", "triangle")
    tested = done.evaluate()
    assert tested.accuracy == done.summary["test_accuracy"]
    assert {row["phase"] for row in done.history} == {1}
    assert len(done.history) == (4 if head in ("linear", "mlp") else 1)
    image = next(Path(shapes).rglob("*.jpg"))
    assert load(done.folder / "model.safetensors").predict([image])[0]["label"] in model.classes
    assert resume(done.folder).summary == done.summary  # a finished run stays as it is


def test_the_head_really_learns_and_the_best_epoch_stays(shapes, weights, tmp_path):
    done = run(shapes, weights, tmp_path / "run", freeze="features", head_epochs=25, precision="fp32")
    first, last = done.history[0], done.history[-1]
    assert last["train_loss"] < 0.7 * first["train_loss"]
    best = max(done.history, key=lambda r: (r["val_accuracy"], -r["val_loss"]))
    assert done.summary["best_epoch"] == best["epoch"]
    # in the whole network, where the head takes features as they are, it says what it said of standardised ones
    evaluation = done.evaluate(split="val")
    assert evaluation.accuracy == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert evaluation.loss == pytest.approx(best["val_loss"], rel=1e-3)


def test_the_same_head_twice_is_the_same_to_the_bit(shapes, weights, tmp_path):
    one, two = (run(shapes, weights, tmp_path / name, freeze="features") for name in "ab")
    assert torch.equal(one.model().module.head.fc.weight, two.model().module.head.fc.weight)


@pytest.mark.parametrize("freeze_norms", [False, True])
def test_unfreeze_trains_the_last_stages_and_leaves_the_statistics_of_the_others(
    freeze_norms, shapes, weights, tmp_path
):
    more = {"unfreeze": 1, "lr": 1e-2, "opt": "momentum", "freeze_norms": freeze_norms}
    done = run(shapes, weights, tmp_path / "run", **more)
    start = load(done.folder / "initial.safetensors").module
    end = last_state(done)
    assert [row["phase"] for row in done.history] == [1, 1, 1, 1, 2, 2]
    assert [row["epoch"] for row in done.history] == [1, 2, 3, 4, 5, 6]
    for part, moved in (
        ("stem", False),
        ("stages.conv2", False),
        ("stages.conv3", False),
        ("stages.conv4", True),
    ):
        before = values(start, part)
        changed = {k for k, v in before.items() if not torch.equal(v, end[k])}
        if moved:
            assert ("stages.conv4.0.body.bn1.running_mean" in changed) != freeze_norms
            assert {"stages.conv4.0.body.bn1.weight", "stages.conv4.0.body.conv1.weight"} <= changed
        else:
            assert not changed


def test_the_mean_of_weights_keeps_the_statistics_that_were_frozen(shapes, weights, tmp_path):
    done = run(shapes, weights, tmp_path / "run", lr=1e-2, average="swa", epochs=2)
    start, end = (load(done.folder / f"{name}.safetensors").module for name in ("initial", "model"))
    name = "stages.conv4.0.body.bn1.running_mean"
    assert torch.equal(start.state_dict()[name], end.state_dict()[name])


def last_state(done):
    tensors, _ = checkpoint.load_state(done.folder / "last")
    return {k.removeprefix("module."): v for k, v in tensors.items() if k.startswith("module.")}


def test_gradual_unfreezing_takes_the_last_stage_first(shapes, weights, tmp_path, monkeypatch):
    seen, thaw = {}, Thaw._thaw

    def watch(hook, epoch):
        thaw(hook, epoch)
        stages = hook.module.stages.named_children()
        seen[epoch] = [name for name, m in stages if next(m.parameters()).requires_grad]

    monkeypatch.setattr(Thaw, "_thaw", watch)
    run(shapes, weights, tmp_path / "run", unfreeze=3, gradual=True, epochs=3)
    assert [seen[epoch] for epoch in (1, 2, 3)] == [
        ["conv4"],
        ["conv3", "conv4"],
        ["conv2", "conv3", "conv4"],
    ]


def test_rates_by_stage(shapes, weights):
    loop = rehearse(
        recipe(
            {
                "data": str(shapes),
                "model": "resnet8",
                "weights": weights,
                **QUICK,
                "unfreeze": 2,
                "layer_decay": 0.1,
            }
        )
    )
    found = {id(p): g["lr"] for g in loop.optimiser.param_groups for p in g["params"]}
    net = loop.engine.module
    assert found[id(net.head.fc.weight)] == pytest.approx(3e-4)  # a tenth of AdamW's usual rate
    assert found[id(net.stages.conv4[0].body.conv1.weight)] == pytest.approx(3e-5)
    assert found[id(net.stages.conv3[0].body.bn1.bias)] == pytest.approx(3e-6)
    assert id(net.stem.conv1.weight) not in found


def test_l2_sp_pulls_towards_the_start(shapes, weights, tmp_path):
    """With an infinitely strong pull nothing could move; a strong one keeps the stage nearer than none."""
    moved = {}
    for alpha in (0.0, 20.0):
        done = run(
            shapes,
            weights,
            tmp_path / str(alpha),
            unfreeze=1,
            l2_sp=alpha,
            opt="sgd",
            lr=0.02,
            weight_decay=0,
            epochs=4,
            layer_decay=1,
        )
        start, end = load(done.folder / "initial.safetensors").module.state_dict(), last_state(done)
        key = "stages.conv4.0.body.conv1.weight"
        moved[alpha] = float((end[key] - start[key]).norm())
    assert moved[20.0] < 0.7 * moved[0.0]


class Interrupt(Listener):
    """Ctrl-C at a batch of fine-tuning."""

    def __init__(self, epoch, step):
        self.at = epoch, step

    def on_step(self, state):
        if (state.epoch, state.step) == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("more", [{"unfreeze": 2, "gradual": True, "l2_sp": 0.01}, {}])
def test_stopped_and_gone_on_with_is_the_straight_run(more, shapes, weights, tmp_path):
    """Also when the file of weights is no longer there."""
    straight = run(shapes, weights, tmp_path / "straight", **more)
    copy = str(shutil.copy(weights, tmp_path / "weights.h5"))
    with pytest.raises(Interrupted):
        run(shapes, copy, tmp_path / "stopped", [Interrupt(2, 1)], **more)
    Path(copy).unlink()
    stopped = resume(tmp_path / "stopped", report=False)
    expected, found = last_state(straight), last_state(stopped)
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
    assert [row["val_loss"] for row in stopped.history] == [row["val_loss"] for row in straight.history]
    assert [row["epoch"] for row in stopped.history] == [row["epoch"] for row in straight.history]


class StopHead(Listener):
    """Sends this process a signal after so many epochs of the head."""

    def __init__(self, epoch, number):
        self.epoch, self.number = epoch, number

    def on_epoch(self, state):
        if state.epoch == self.epoch:
            signal.raise_signal(self.number)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_while_the_head_trains_says_how_to_go_on(number, code, shapes, weights, tmp_path):
    straight = run(shapes, weights, tmp_path / "straight", freeze="features")
    with pytest.raises(Interrupted, match=f"stopped by {number.name}") as caught:
        run(shapes, weights, tmp_path / "r", [StopHead(2, number)], freeze="features")
    assert caught.value.exit_code == code
    assert f"--resume {tmp_path / 'r'}` begins with the head again, on the features" in caught.value.hint
    gone_on = resume(tmp_path / "r", report=False)
    assert [row["val_loss"] for row in gone_on.history] == [row["val_loss"] for row in straight.history]


@pytest.mark.parametrize("again", ["resume", "repeat"])
def test_a_run_that_ended_before_it_had_a_state_begins_anew(again, shapes, weights, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    straight = run(shapes, weights, tmp_path / "straight", freeze="features")
    with monkeypatch.context() as m:
        m.setattr(phases, "fit_head", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(shapes, weights, tmp_path / "r", freeze="features")
    if again == "resume":
        gone_on = resume(tmp_path / "r", report=False)
    else:
        gone_on = run(shapes, weights, tmp_path / "r", freeze="features")
    assert gone_on.summary["val_accuracy"] == straight.summary["val_accuracy"]
    assert [row["val_loss"] for row in gone_on.history] == [row["val_loss"] for row in straight.history]
    with pytest.raises(UsageError, match="is not empty"):
        run(shapes, weights, tmp_path / "r", freeze="features")


def test_a_head_on_several_labels_is_judged_as_the_rest_is(shapes, weights, tmp_path):
    """One or two of three labels an image."""
    files = sorted(shapes.rglob("*.jpg"))
    rows = [
        f"{file.relative_to(shapes.parent)},{file.parent.name}{'|odd' if i % 2 else ''}"
        for i, file in enumerate(files)
    ]
    table = shapes.parent / "labels.csv"
    table.write_text("\n".join(["path,labels", *rows]))
    made = run(table, weights, tmp_path / "r", unfreeze=1, epochs=1)
    assert all(0 < row["val_map"] <= 1 for row in made.history)
    best = max(made.history, key=lambda row: (row["val_map"], -row["val_loss"]))
    assert made.summary["val_map"] == best["val_map"]
    assert made.summary["best_epoch"] == best["epoch"]


def test_a_convolution_that_scores_is_trained_on_maps(shapes, tmp_path):
    net = zoo.build("squeezenet1_1")
    path = save_weights(net, "squeezenet1_1", "torchvision", tmp_path / "a.safetensors")
    done = run(shapes, str(path), tmp_path / "run", model="squeezenet1_1", freeze="features")
    assert done.evaluate(split="val").loss == pytest.approx(
        max(done.history, key=lambda r: (r["val_accuracy"], -r["val_loss"]))["val_loss"], rel=1e-3
    )
    assert torch.equal(done.model().module.stem.conv1.weight, net.stem.conv1.weight)


def test_compare_scratch(shapes, weights, tmp_path):
    done = run(shapes, weights, tmp_path / "run", freeze="features", compare_scratch=True, epochs=2)
    scratch = Run.open(done.folder / "scratch")
    assert done.summary["scratch"]["test_accuracy"] == scratch.summary["test_accuracy"]
    assert scratch.recipe.weights is None
    assert scratch.splits == done.splits
    assert scratch.recipe.img_size == done.recipe.img_size


def test_classes_that_the_weights_know_keep_their_head(shared_data, weights, tmp_path):
    """CIFAR-10's own ten classes: before any training the network is as good as its authors left it."""
    with (
        zipfile.ZipFile(shared_data / "cifar10.zip") as z,
        zipfile.ZipFile(tmp_path / "some.zip", "w") as some,
    ):
        for name in z.namelist():
            parts = name.split("/")
            if parts[0] == "test" and name.endswith(".jpg") and int(parts[2].removesuffix(".jpg")) % 50 == 0:
                some.writestr(f"{parts[1]}/{parts[2]}", z.read(name))
    done = run(
        tmp_path / "some.zip", weights, tmp_path / "run", head_epochs=1, freeze="features", batch_size=10_000
    )
    assert done.summary["test_accuracy"] > 0.6


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"freeze": "features"}, "--freeze has no say: the network starts from fresh weights"),
        ({"unfreeze": 1}, "--unfreeze has no say"),
        ({"compare_scratch": True}, "--compare-scratch has no say"),
        ({"weights": "W", "head": "knn"}, "--head has no say: no head is fitted to frozen features"),
        ({"weights": "W", "model": "INPUT => FC(3)"}, "are for networks of the zoo"),
        (
            {"weights": "W", "freeze": "features", "head": "knn", "several": True},
            "--head knn chooses one class of several",
        ),
        ({"weights": "nowhere.h5"}, "no file of weights at nowhere"),
        ({"weights": "W", "freeze": "features", "epochs": 2}, "--epochs has no say: a head alone is trained"),
        ({"weights": "W", "freeze": "features", "balanced": True}, "--balanced has no say"),
    ],
)
def test_what_can_not_be(fields, says, shapes, weights, tmp_path):
    fields = {k: weights if v == "W" else v for k, v in fields.items()}
    if fields.pop("several", False):
        shapes = shutil.copytree(shapes, tmp_path / "several")
        files = sorted(shapes.rglob("*.jpg"))
        rows = [f"{file.relative_to(shapes)},{file.parent.name}|picture" for file in files]
        (shapes / "labels.csv").write_text("\n".join(["file,label", *rows]))
    settings = {"data": str(shapes), "model": "resnet8", **QUICK, "head_epochs": None, "batch_size": None}
    with pytest.raises(UsageError, match=says):
        train(recipe({**settings, **fields}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="nearest neighbours have nothing to train"):
        recipe({"data": "digits", "model": "resnet8", "weights": "w", "unfreeze": 1, "head": "knn"})


def test_what_trains_in_one_process_is_refused_in_two(tmp_path):
    class Two:
        group = type("", (), {"size": 2})
        recipe = recipe({"data": "digits", "model": "resnet8", "weights": "w.pth", "compare_scratch": True})

    with pytest.raises(UsageError, match="--compare-scratch train in one process"):
        phases.begin(Run(tmp_path), Two(), None, [])
    assert not list(tmp_path.iterdir())

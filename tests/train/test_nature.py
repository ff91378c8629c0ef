"""A field of the recipe says when it counts: what is set either changes what happens, or is refused by name."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from striate.errors import UsageError
from striate.train import recipe, resume, train
from striate.train.nature import natures
from striate.train.recipe import Recipe
from striate.train.written import altered, stored

NET = "INPUT => CONV(4) => BN => RELU => { SKIP + CONV(4) => DROPPATH(0.1) } => RELU => POOL(2) => FC"
QUICK = {"model": NET, "epochs": 3, "batch_size": 20, "workers": 0, "health": False, "device": "cpu"}
QUICK |= {"precision": "fp32"}
FROZEN = {"model": "lenet5", "weights": "trained", "freeze": "features", "head_epochs": 3}
TUNED = {"model": "lenet5", "weights": "trained"}
STILL = {"lr": 1e-7, "sched": "constant", "augment": "none"}  # no epoch is better than the first
FALLING = {"lr": 1e-3, "sched": "constant", "augment": "none", "patience": 1, "monitor": "loss"}
LOWERED = {**STILL, "sched": "plateau", "plateau": 1, "epochs": 4}

# field: what gives it a say beside QUICK, and another value than the default
CHANGES = {
    "img_size": ({}, (12, 10)),
    "in_chans": ({"model": "lenet5"}, 3),
    "resize": ({"img_size": (8, 12)}, "pad"),
    "split": ({}, (0.5, 0.25, 0.25)),
    "augment": ({}, "none"),
    "balanced": ({}, True),
    "model": ({}, NET.replace("CONV(4)", "CONV(5)")),
    "init": ({}, "zeros"),
    "whiten": ({"augment": "none"}, True),
    "drop_path": ({}, 0.5),
    "weights": ({"model": "lenet5"}, "trained"),
    "freeze": (TUNED, "features"),
    "head": (FROZEN, "mlp"),
    "head_epochs": (FROZEN, 2),
    "unfreeze": (TUNED, 1),
    "gradual": ({**TUNED, "unfreeze": 2}, True),
    "layer_decay": (TUNED, 0.9),
    "freeze_norms": ({"model": "resnet8", "weights": "trained"}, False),
    "l2_sp": (TUNED, 0.1),
    "compare_scratch": (FROZEN, True),
    "epochs": ({}, 2),
    "batch_size": ({}, 16),
    "lr": ({}, 0.01),
    "opt": ({}, "sgd"),
    "momentum": ({"opt": "sgd"}, 0.9),
    "sched": ({}, "cosine"),
    "warmup": ({}, 0.5),
    "plateau": (LOWERED, 2),
    "plateau_factor": (LOWERED, 0.5),
    "cooldown": (LOWERED, 5),
    "min_lr": ({"sched": "cosine"}, 1e-3),
    "weight_decay": ({}, 0.5),
    "decay_all": ({}, True),
    "bias_lr": ({}, 2.0),
    "clip": ({}, 0.01),
    "accumulate": ({}, 2),
    "lookahead": ({}, 2),
    "average": ({}, "ema"),
    "ema_decay": ({"average": "ema"}, 0.01),
    "loss": ({}, "focal"),
    "focal_gamma": ({"loss": "focal"}, 1.0),
    "smoothing": ({}, 0.1),
    "class_weights": ({}, True),
    "grow": ({"model": NET.replace("FC", "GAP => FC")}, 0.5),
    "patience": (STILL, 1),
    "min_delta": (FALLING, 1.0),
    "patience_from": ({**STILL, "patience": 1}, 2),
    "baseline": ({**STILL, "patience": 2}, 1.0),
    "monitor": ({**STILL, "patience": 1, "lr": 1e-4}, "loss"),
    "stop_after": ({}, 1e-6),
    "seed": ({}, 1),
    "keep": ({}, 1),
    "health": ({"health": False}, True),
    "track": ({}, "tensorboard"),
}
ELSEWHERE = {
    "data": "each test of data",
    "num_classes": "checks the data and changes nothing",
    "classes": "tests/cli/test_train_data.py",
    "allow_empty": "tests/data/test_folder.py",
    "columns": "tests/data/test_table.py",
    "on_bad_image": "tests/cli/test_train_data.py",
    "cache": "results are the same by intention: tests/data/test_cache.py",
    "cache_limit": "likewise",
    "workers": "likewise: tests/data/test_loader.py",
    "offline": "tests/cli/test_train_data.py",
    "pretrained": "tests/transfer/test_download.py",
    "aux_weight": "tests/train/test_loop.py, and below",
    "device": "tests/train/test_engine.py",
    "precision": "tests/train/test_engine.py",
    "deterministic": "refuses operations, and changes nothing else",
    "save_every": "tests/train/test_session.py",
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Sixty digits, thirty each of 0 and 3 in unequal numbers, as an .npz of 8x8 px."""
    bunch = load_digits()
    rows = [i for i, y in enumerate(bunch.target) if y in (0, 3)][:90]
    rows = [i for i in rows if bunch.target[i] == 3 or i % 3]
    path = tmp_path_factory.mktemp("data") / "two.npz"
    x = np.asarray(bunch.images[rows] * 15, np.uint8)
    np.savez(path, x_train=x, y_train=(bunch.target[rows] == 3).astype(np.int64))
    return path


@pytest.fixture(scope="module")
def outcome(digits, tmp_path_factory):
    """What a recipe leads to: rows of the record, weights, and names in the run folder; each recipe runs once."""
    known = {}

    def weights_of(network):
        if network not in known:
            folder = tmp_path_factory.mktemp(network) / "run"
            train(recipe({**QUICK, "data": str(digits), "model": network, "epochs": 1}), folder, report=False)
            known[network] = str(folder / "model.safetensors")
        return known[network]

    def run(settings):
        settings = {**QUICK, "data": str(digits), **settings}
        if settings.get("weights") == "trained":
            settings["weights"] = weights_of(settings["model"])
        if settings.get("freeze") == "features":
            settings = {k: v for k, v in settings.items() if k not in ("epochs",)}
        if str(settings) not in known:
            done = train(recipe(settings), tmp_path_factory.mktemp("run") / "run", report=False)
            rows = [
                {k: v for k, v in r.items() if k not in ("seconds", "images_per_second")}
                for r in done.history
            ]
            files = sorted(str(p.relative_to(done.folder)).split("events")[0] for p in done.folder.rglob("*"))
            weights = {k: v.double().sum().item() for k, v in done.model().module.state_dict().items()}
            known[str(settings)] = rows, weights, [name for name in files if not name.startswith("last")]
        return known[str(settings)]

    return run


@pytest.mark.parametrize("field", CHANGES)
def test_what_is_accepted_changes_what_happens(field, outcome):
    beside, value = CHANGES[field]
    assert outcome(beside) != outcome({**beside, field: value})


def test_no_field_is_left_out_here():
    assert CHANGES.keys() | ELSEWHERE.keys() == Recipe.model_fields.keys()


def test_a_field_without_a_nature_is_refused():
    class Bare(Recipe):
        colour: str = "red"

    with pytest.raises(TypeError, match="field colour states no nature"):
        dict(natures(Bare))
    assert [name for name, _ in natures(Recipe)] == list(Recipe.model_fields)


WEIGHTS = {"model": "resnet8", "weights": "w.safetensors"}
HEAD = {**WEIGHTS, "freeze": "features"}


@pytest.mark.parametrize(
    ("settings", "why", "hint"),
    [
        ({"opt": "adamw", "momentum": 0.9}, "--momentum has no say: --opt is adamw", "--opt sgd, momentum"),
        ({"opt": "adamw", "momentum": 0}, "--momentum has no say", ""),
        ({"sched": "step", "min_lr": 1e-4}, "--min-lr has no say: --sched is step", "plateau, cosine or one-cycle"),
        ({"sched": "10:0.1", "min_lr": 1e-4}, "--min-lr has no say", ""),
        ({"sched": "constant", "warmup": 0.1}, "--warmup has no say", "--sched one-cycle or cosine"),
        ({"sched": "constant", "warmup": 0.2}, "--warmup has no say", ""),  # the default, but typed
        ({"ema_decay": 0.9}, "--ema-decay has no say: --average is none", "--average ema"),
        ({"average": "swa", "ema_decay": 0.9}, "--ema-decay has no say: --average is swa", "--average ema"),
        ({"focal_gamma": 1}, "--focal-gamma has no say: --loss is unset", "--loss focal"),
        ({"min_delta": 0.1}, "--min-delta has no say", "--patience N or --sched plateau"),
        ({"baseline": 0.5}, "--baseline has no say", "--patience N"),
        ({"sched": "plateau", "baseline": 0.5}, "--baseline has no say", "--patience N"),
        ({"plateau": 3}, "--plateau has no say: --sched is one-cycle", "--sched plateau"),
        ({"cooldown": 3}, "--cooldown has no say", ""),
        ({"plateau_factor": 0.5}, "--plateau-factor has no say", ""),
        ({"opt": "adam", "decay_all": True}, "--decay-all has no say: weights don't decay", "--weight-decay"),
        ({"cache": "off", "cache_limit": "1GB"}, "--cache-limit has no say: --cache is off", "ram or disk"),
        ({"layer_decay": 0.7}, "--layer-decay has no say: the network starts from fresh weights", "--weights FILE"),
        ({"freeze_norms": False}, "--freeze-norms has no say", "--pretrained"),
        ({"l2_sp": 0.1}, "--l2-sp has no say", ""),
        ({**WEIGHTS, "gradual": True}, "--gradual has no say", "--unfreeze N"),
        ({**WEIGHTS, "unfreeze": 1, "gradual": True}, "--gradual has no say: no more than one stage", "2 stages"),
        ({**WEIGHTS, "pretrained": True}, "--pretrained has no say: --weights tells", "leave it out"),
        ({**WEIGHTS, "head": "mlp"}, "--head has no say", "--freeze features"),
        ({**WEIGHTS, "head_epochs": 5}, "--head-epochs has no say", ""),
        ({**HEAD, "augment": "shift-flip"}, "--augment has no say: a head alone is trained", "--unfreeze 1"),
        ({**HEAD, "epochs": 3}, "--epochs has no say", "--head-epochs"),
        ({**HEAD, "keep": 2}, "--keep has no say", ""),
        ({**HEAD, "track": "tensorboard"}, "--track has no say", ""),
        ({**HEAD, "layer_decay": 0.7}, "--layer-decay has no say", ""),
        ({**HEAD, "head": "knn", "batch_size": 8}, "--batch-size has no say", "linear or mlp"),
        ({**HEAD, "head": "logistic", "class_weights": True}, "--class-weights has no say", "linear or mlp"),
        ({**HEAD, "head": "logistic", "smoothing": 0.1}, "--smoothing has no say", "linear or mlp"),
        ({**HEAD, "head": "knn", "loss": "focal"}, "--loss has no say", "linear or mlp"),
        ({**HEAD, "head": "logistic", "warmup": 0.1, "sched": None}, "--warmup has no say", ""),
    ],
)  # fmt: skip
def test_what_has_no_say_is_refused_by_name(settings, why, hint):
    with pytest.raises(UsageError) as caught:
        recipe({"data": "digits", "model": "lenet5", **settings})
    assert str(caught.value).startswith(why)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"opt": "sgd", "momentum": 0.9},
        {"sched": "cosine", "min_lr": 1e-5},
        {"sched": "plateau", "min_delta": 0.1},
        {
            "ema_decay": None,
            "l2_sp": 0,
            "unfreeze": 0,
            "freeze": "none",
            "gradual": False,
            "min_lr": 0,
        },  # all off
        {**HEAD, "health": False, "weight_decay": 0.1, "warmup": 0.1},
        {**HEAD, "compare_scratch": True, "epochs": 3, "augment": "none"},
        {**WEIGHTS, "unfreeze": 1, "head_epochs": 3, "sched": "constant", "warmup": 0.1},
    ],
)
def test_what_has_a_say_or_is_off_is_taken(settings):
    recipe({"data": "digits", "model": "lenet5", **settings})


def test_a_file_may_spell_out_defaults(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("data: digits\nmodel: lenet5\nema_decay: 0.999\nwarmup: 0.2\nsched: constant\n")
    assert recipe({}, path).ema_decay == 0.999
    path.write_text("data: digits\nmodel: lenet5\nema_decay: 0.99\n")
    with pytest.raises(UsageError, match="--ema-decay has no say"):
        recipe({}, path)


def test_the_recipe_of_an_older_run_is_read_without_what_had_no_say(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data: digits\nmodel: lenet5\nopt: adamw\nmomentum: 0.9\nema_decay: 0.9\nlr: 0.001\n")
    r = stored(path)
    assert (r.momentum, r.ema_decay, r.lr) == (None, 0.999, 0.001)
    assert altered(r, {"opt": "sgd", "momentum": 0.8}).momentum == 0.8
    with pytest.raises(UsageError, match="--momentum has no say"):
        altered(r, {"momentum": 0.8})


def test_a_run_begun_when_sgd_had_no_momentum_goes_on_without(digits, tmp_path):
    fields = {**QUICK, "data": str(digits), "opt": "sgd"}
    straight = train(recipe({**fields, "epochs": 4}), tmp_path / "straight", report=False)
    begun = train(recipe({**fields, "epochs": 4, "stop_after": 1e-6}), tmp_path / "begun", report=False)
    said = begun.folder / "recipe.yaml"
    said.write_text(said.read_text().replace("momentum: 0.0", "momentum: 0.9"))
    found = resume(begun.folder, report=False, stop_after=1000)
    assert found.recipe.momentum == 0
    assert found.model().metrics == straight.model().metrics


def test_auxiliary_weights_need_auxiliary_heads(digits, tmp_path):
    with pytest.raises(UsageError, match="--aux-weight: the network has no auxiliary heads"):
        train(recipe({**QUICK, "data": str(digits), "aux_weight": 0.1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()

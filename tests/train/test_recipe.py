"""A recipe is validated field by field, and comes back from its own YAML."""

import re
from pathlib import Path

import pytest

from striate.errors import UsageError
from striate.train.recipe import Recipe
from striate.train.written import recipe, stored, to_yaml

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    (tmp_path / "r.yaml").write_text("data: digits\nmodel: lenet5\nepochs: 7\nlr: 0.5\n")
    r = recipe({"lr": 0.1, "seed": None}, tmp_path / "r.yaml")
    assert (r.epochs, r.lr, r.seed) == (7, 0.1, 0)


def test_yaml_holds_every_field_and_reads_back_equal(tmp_path):
    r = Recipe(
        data="a: b # c", model="INPUT => [CONV => RELU]*2 => FC", img_size=32, lr=3e-4, split=(0.6, 0.2, 0.2)
    )
    text = to_yaml(r)
    (tmp_path / "r.yaml").write_text(text)
    assert recipe({}, tmp_path / "r.yaml") == stored(tmp_path / "r.yaml") == r
    assert r.img_size == (32, 32)
    for name, field in Recipe.model_fields.items():
        assert f"{name}: " in text
        assert str(field.description) in text


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"leraning_rate": 1}, "unknown field leraning_rate", ""),
        ({"ephocs": 1}, "unknown field ephocs", "did you mean epochs"),
        ({"epochs": 0}, "epochs: expected greater than or equal to 1, got 0", ""),
        ({"epochs": "three"}, "epochs: expected a valid integer", ""),
        ({"lr": float("nan")}, "lr: expected", ""),
        ({"lr": 0}, "lr: expected greater than 0, got 0", ""),
        ({"smoothing": 1.5}, "smoothing: expected less than 1, got 1.5", ""),
        ({"opt": "adan"}, "opt: expected", "did you mean adam"),
        ({"sched": "cosin"}, "sched: expected", "did you mean cosine"),
        ({"split": (0.5, 0.2, 0.2)}, "split: shares must be positive and sum to 1", ""),
        ({"balanced": True, "class_weights": True}, "class_weights: balanced draws make rare classes", ""),
        ({"device": "tpu"}, "device: expected auto, cpu, mps, cuda or cuda:N, got 'tpu'", ""),
        ({"img_size": "1,2,3"}, "img_size: expected one side or H,W in pixels, got '1,2,3'", ""),
        ({"img_size": 0}, "img_size: expected greater than or equal to 1, got 0", ""),
        ({"img_size": "10000"}, "img_size: expected less than or equal to 4096", ""),
        ({"epochs": 10**5000}, "epochs: expected less than or equal to 1000000, got <int>", ""),
        ({"split": [10**5000, 1]}, "split: expected", ""),
        ({"cache_limit": "9" * 400 + "GB"}, "cache_limit: expected a valid integer", ""),
        ({"stop_after": "9" * 400 + "h"}, "stop_after: expected a finite number", ""),
        ({2: 3}, "unknown field 2", ""),
        ({"learning_rate": 0.1}, "unknown field learning_rate", "did you mean lr?"),
        ({"augment": "flip"}, "augment: unknown augmentation 'flip'", "did you mean horizontal_flip?"),
        (
            {"augment": "rotate(40)"},
            "augment: unknown augmentation 'rotate'",
            "did you mean affine(rotation=10)?",
        ),
        ({"augment": [{"name": ["cutmix"]}]}, "augment: unknown augmentation ['cutmix']", ""),
    ],
)
def test_a_bad_field_is_named_with_what_was_expected(settings, message, hint):
    with pytest.raises(UsageError) as caught:
        recipe({"data": "digits", "model": "lenet5", **settings})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("field", "typed", "meant"),
    [
        ("img_size", "32", (32, 32)),
        ("img_size", 32, (32, 32)),
        ("img_size", "24,32", (24, 32)),
        ("img_size", "24x32", (24, 32)),
        ("split", "70/15/15", (0.7, 0.15, 0.15)),
        ("split", "0.6,0.2,0.2", (0.6, 0.2, 0.2)),
        ("split", "90/10", (0.9, 0.1, 0.0)),
    ],
)
def test_sizes_and_shares_as_people_type_them(field, typed, meant):
    assert getattr(recipe({"data": "digits", "model": "lenet5", field: typed}), field) == meant


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1\n", "expected `field: value` lines"),
        ("a: [1\n", r"r\.yaml, line 2, column 1: no YAML: while parsing a flow sequence"),
        (
            "data: !!python/object/apply:os.system ['true']\n",
            "line 1, column 7: the tag .* has no meaning here",
        ),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        recipe({}, tmp_path / "r.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "field", "meant"),
    [
        ("cache: off", "cache", "off"),
        ("health: off", "health", False),
        ("health: no", "health", False),
        ("balanced: True", "balanced", True),
        ("sched: 30:0.1", "sched", "30:0.1"),
        ("sched: 2:0.5,30:0.1", "sched", "2:0.5,30:0.1"),
        ("epochs: 010", "epochs", 10),
        ("lr: 1e-3", "lr", 0.001),
        ("in_chans: 3", "in_chans", 3),
        ("img_size: [24, 32]", "img_size", (24, 32)),
        ("split: [0.8, .1, 1e-1]", "split", (0.8, 0.1, 0.1)),
        ("classes: 2024", "classes", "2024"),
        ("classes: 1e3", "classes", "1e3"),
        ("classes: 2020-01-01", "classes", "2020-01-01"),
        ("classes: 'null'", "classes", "null"),
        ("classes: null", "classes", None),
        ("classes:", "classes", None),
        ("augment: [{name: random_crop, padding: 3, fill: reflect}, cutmix]", "augment",
         "random_crop(padding=3, fill=reflect), cutmix"),
        ("stop_after: 1h30m", "stop_after", 5400),
        ("stop_after: 1.5h", "stop_after", 5400),
        ("stop_after: 2m 5s", "stop_after", 125),
        ("stop_after: 90", "stop_after", 90),
    ],
)  # fmt: skip
def test_a_value_in_a_file_means_what_it_means_as_a_flag(tmp_path, line, field, meant):
    (tmp_path / "r.yaml").write_text(f"model: lenet5\n{line}\n")
    found = recipe({"data": "digits"}, tmp_path / "r.yaml")
    assert getattr(found, field) == meant
    if not line.startswith(
        ("img_size: [", "split: [", "augment: [", "classes: n", "classes: '", "classes:\n")
    ):
        typed = line.partition(":")[2].strip() or None
        assert getattr(recipe({"data": "digits", "model": "lenet5", field: typed}), field) == meant
    (tmp_path / "again.yaml").write_text(to_yaml(found))
    assert recipe({}, tmp_path / "again.yaml") == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs: 3\nlr: 0.1\nepochs: 5", "line 3, column 1: epochs is set already, in line 1"),
        ("{lr: 1, lr: 2}", "line 1, column 9: lr is set already, in line 1"),
        ("epochs: !!int 3", "line 1, column 9: the tag tag:yaml.org,2002:int has no meaning here"),
        ("epochs: &e 3", "line 1, column 9: anchors and aliases have no meaning here"),
        ("a: [&a [*a]]", "line 1, column 5: anchors and aliases have no meaning here"),
        ("[a]: 3", "line 1, column 1: expected a name before the colon"),
        ("lr: 1\n---\nlr: 2", "line 2, column 1: a second document begins"),
        ("lr: " + "[" * 3000, "line 1, column 21: more than 8,000 values, or 16 one inside the other"),
        ("model: lenet5\n2: 3", "unknown field 2"),
        ("model: lenet5\nepochs: " + "9" * 5000, r"epochs: expected a valid integer, .*\.\.\.$"),
        ("lr: \0", "no YAML: unacceptable character #x0000"),
        ("lr: - 1", "line 1, column 5: no YAML: sequence entries are not allowed here"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_with_its_place(tmp_path, content, message):
    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        recipe({"data": "digits"}, tmp_path / "r.yaml")
    assert str(tmp_path / "r.yaml") in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_fault_is_told_of_the_file_only_where_it_is_the_file_s(tmp_path):
    (tmp_path / "r.yaml").write_text("model: lenet5\nepochs: 0\n")
    with pytest.raises(UsageError, match=r"r\.yaml: epochs: expected"):
        recipe({"data": "digits"}, tmp_path / "r.yaml")
    with pytest.raises(UsageError, match=r"^epochs: expected .* got -1"):
        recipe({"data": "digits", "epochs": -1}, tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text("model: lenet5\n")
    with pytest.raises(UsageError, match=r"^data is missing"):
        recipe({}, tmp_path / "r.yaml")


def test_the_recipe_of_a_run_that_was_cut_is_named(tmp_path):
    (tmp_path / "recipe.yaml").write_text("data: digits\n")
    with pytest.raises(UsageError, match=r"recipe\.yaml: model is missing"):
        stored(tmp_path / "recipe.yaml")


def test_a_missing_field_says_what_it_is_for():
    with pytest.raises(UsageError, match="model is missing") as caught:
        recipe({"data": "digits"})
    assert "zoo name" in caught.value.hint


def test_start_weights_have_a_known_name():
    with pytest.raises(UsageError, match="init: unknown initialisation 'hi_normal'") as caught:
        recipe({"data": "digits", "model": "lenet5", "init": "hi_normal"})
    assert "he_normal" in caught.value.hint


@pytest.mark.parametrize("start", [{"whiten": True}, {"init": "he_normal"}])
def test_nothing_is_written_over_trained_weights(start):
    with pytest.raises(UsageError, match="the network starts from trained weights"):
        recipe({"data": "digits", "model": "resnet8", "weights": "w.safetensors", **start})


def test_images_of_features_that_are_computed_once_do_not_grow():
    frozen = {
        "data": "digits",
        "model": "resnet8",
        "weights": "w.safetensors",
        "freeze": "features",
        "grow": 0.5,
    }
    with pytest.raises(UsageError, match="--grow has no say: a head alone is trained"):
        recipe(frozen)
    assert recipe({**frozen, "unfreeze": 1}).grow == 0.5


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_that_comes_along_is_valid_and_its_header_says_what_it_reached(path):
    header = path.read_text().partition("\nmodel:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert re.search(r"[0-9]{2}\.[0-9]{2} ± [0-9]\.[0-9]{2} %", header)
    assert all(word in header for word in ("seeds", "s of training", "cores", f"-c recipes/{path.name}"))
    assert recipe({"data": "digits"}, path).data == "digits"

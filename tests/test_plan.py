"""What a network word means."""

import sys

import pytest
import torch
from torch import nn

from striate.errors import Note, UsageError
from striate.net import resolve
from striate.plan import from_origin, plan


def small(num_classes=10, in_chans=3):
    """A network as users of other libraries write them."""
    return nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.Flatten(), nn.LazyLinear(num_classes))


def squashed(num_classes=10, in_chans=3):
    """As tutorials for other losses end it."""
    return nn.Sequential(*small(num_classes, in_chans), nn.Softmax(dim=1))


def narrow(num_classes=10, in_chans=3):
    """Weights of half the length."""
    return small(num_classes, in_chans).half()


def no_network():
    """Not a network."""
    return 7


def needs_more(width):
    """Cannot be called without an argument."""
    return nn.Linear(width, 2)


def test_a_zoo_name_is_built_for_the_channels_and_classes_asked_for():
    net = resolve("lenet5", (3, 32, 32), 7)
    assert net.module(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert net.name == "lenet5"
    assert plan("lenet5").wants == (1, 32, 32)


def test_a_network_whose_dense_layer_fixes_the_size_is_built_for_the_images():
    assert resolve("mnist_cnn", (1, 32, 32), 10).module(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_a_softmax_at_the_end_of_foreign_code_is_left_out_and_told():
    with pytest.warns(Note, match=r"ends in a softmax \(3\), which is left out: networks give logits"):
        net = resolve(f"{__name__}:squashed", (3, 8, 8), 7)
    scores = net.module(torch.rand(4, 3, 8, 8))
    assert not torch.allclose(scores.sum(1), torch.ones(4))
    assert [type(m) for m in net.module][-2:] == [nn.Linear, nn.Identity]


def test_a_compiled_network_is_built_as_the_one_beneath(monkeypatch):
    monkeypatch.setitem(
        globals(), "fast", lambda num_classes=10: torch.compile(squashed(num_classes), backend="eager")
    )
    with pytest.warns(Note, match="ends in a softmax"):
        module = resolve(f"{__name__}:fast", (3, 8, 8), 7).module
    assert next(iter(module.state_dict())) == "0.weight"
    assert isinstance(module[-1], nn.Identity)


def test_weights_of_another_length_become_float32_and_it_is_told():
    with pytest.warns(Note, match="has weights in float16, which become float32"):
        net = resolve(f"{__name__}:narrow", (3, 8, 8), 7)
    assert {p.dtype for p in net.module.parameters()} == {torch.float32}


def test_a_zoo_name_with_arguments():
    net = resolve("googlenet(aux_heads=true, dropout=0.4)", (3, 224, 224), 5)
    assert net.name == "googlenet"
    assert net.origin["arguments"] == {"aux_heads": True, "dropout": 0.4}
    assert len(net.module.auxiliary) == 2
    assert len(from_origin(net.origin).build((3, 224, 224), 5).module.auxiliary) == 2
    assert plan("lenet5()").origin["name"] == "lenet5"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("googlenet(aux_head=true)", "googlenet takes no argument 'aux_head'"),
        ("googlenet(true)", r"can't read googlenet\(true\)"),
        ("googlenet(aux_heads=[)", "can't read googlenet"),
        ("googlenet(num_classes=3)", "num_classes is no argument here"),
        ("resnet50(stride_on=5x5)", "stride_on is one of 1x1, 3x3, got '5x5'"),
        ("lenet6(dropout=0.1)", "no network is called 'lenet6'"),
    ],
)
def test_arguments_that_mean_nothing(word, message):
    with pytest.raises(UsageError, match=message):
        resolve(word, (3, 224, 224), 5)


def test_a_diagram_asks_for_its_own_input():
    text = "INPUT(8,6,2) => FC(5)"
    assert plan(text).wants == (2, 8, 6)
    assert resolve(text).input_shape == (2, 8, 6)
    assert plan("INPUT => FC").wants == (None, None, None)
    with pytest.raises(UsageError, match="unknown input size"):
        resolve("INPUT => FC(5)")


def test_a_diagram_file_is_called_by_its_name(tmp_path):
    (tmp_path / "tiny.diagram").write_text("# a comment\nINPUT(8,8,1)\n=> FC(3)\n")
    net = resolve(str(tmp_path / "tiny.diagram"))
    assert (net.name, net.module(torch.zeros(2, 1, 8, 8)).shape) == ("tiny", (2, 3))


def test_a_factory_gets_what_it_takes():
    net = resolve(f"{__name__}:small", (1, 8, 8), 4)
    assert net.module(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lenet6", "no network is called 'lenet6'"),
        ("nothing.diagram", "no diagram file at nothing.diagram"),
        ("no_such_module:f", "can't find no_such_module:f"),
        ("os:no_such_name", "can't find os:no_such_name"),
        ("os:getpid", "gives a int, expected an nn.Module"),
    ],
)
def test_a_word_that_means_nothing_is_refused_in_one_line(word, message):
    with pytest.raises(UsageError, match=message) as caught:
        resolve(word, (1, 32, 32))
    assert "\n" not in str(caught.value)


def any_words(**words):
    """As torchvision's builders, which take what they don't name."""
    return small(**words, in_chans=1)


def deaf():
    """Always ten classes."""
    return small(in_chans=1)


def test_a_factory_of_any_words_is_told_the_classes():
    assert resolve(f"{__name__}:any_words", (1, 8, 8), 4).module(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


def test_a_factory_in_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "mynet_of_mine.py").write_text("from torch import nn\ndef make():\n    return nn.Flatten()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in sys.path if p not in ("", ".")])
    before = list(sys.path)
    assert resolve("mynet_of_mine:make", (1, 2, 2), 4).name == "make"
    assert sys.path == before


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 8, 8), r"deaf gives \(1, 10\) for an image, expected \(1, 4\)"),
        ((3, 8, 8), r"deaf can't take an image of \(3, 8, 8\): Given groups=1"),
    ],
)
def test_a_network_of_other_sizes_is_refused_before_it_trains(shape, message):
    with pytest.raises(UsageError, match=message):
        resolve(f"{__name__}:deaf", shape, 4)


@pytest.mark.parametrize(
    ("name", "message"), [("no_network", "gives a int"), ("needs_more", "can't be called")]
)
def test_a_factory_that_is_none(name, message):
    with pytest.raises(UsageError, match=message):
        resolve(f"{__name__}:{name}", (1, 8, 8))

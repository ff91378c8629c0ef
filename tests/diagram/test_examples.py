from pathlib import Path

import pytest
import torch

from striate.diagram import build, weights

EXAMPLES = Path(__file__).parents[2] / "examples" / "diagrams"
COUNTS = {
    "lenet5": 61_706,
    "mlp": 401_920 + 262_656 + 5_130,
    "mnist_cnn": 320 + 18_496 + 200_768 + 650,
    "cifar10_cnn": 208 + 2_080 + 8_256 + 512_500 + 5_010,
    "classroom": 320 + 18_496 + 36_928 + 36_928 + 650,
    "googlenet": 6_624_904,
    "resnet18": 11_689_512,
    "densenet121": 7_978_856,
}
LIKE = {  # at 32x32x3 with 10 classes
    "alexnet_like": 896 + 18_496 + 73_856 + 2 * 147_584 + (4 * 4 * 128 + 1) * 128 + 129 * 128 + 129 * 10,
    "vgg_like": (896 + 9_248) + (18_496 + 36_928) + (73_856 + 2 * 147_584) + (295_168 + 2 * 590_080)
    + (1_180_160 + 2 * 2_359_808) + 513 * 128 + 129 * 128 + 129 * 10,
}  # fmt: skip


def text(name: str) -> str:
    return (EXAMPLES / f"{name}.diagram").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameter_counts_are_the_published_ones(name: str, count: int) -> None:
    assert sum(p.numel() for p in build(text(name)).parameters()) == count


@pytest.mark.parametrize(("name", "count"), LIKE.items())
def test_diagrams_that_take_the_size_from_the_data(name: str, count: int) -> None:
    assert sum(p.numel() for p in build(text(name), (3, 32, 32), 10).parameters()) == count


def test_layer_by_layer() -> None:
    sizes = [sum(p.numel() for p in m.parameters()) for m in build(text("cifar10_cnn"))]
    assert [n for n in sizes if n] == [208, 2_080, 8_256, 512_500, 5_010]
    sizes = [sum(p.numel() for p in m.parameters()) for m in build(text("classroom"))]
    assert [n for n in sizes if n] == [320, 18_496, 36_928, 36_928, 650]


def test_every_example_is_counted_starts_with_a_comment_and_fits_one_screen() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.diagram")}
    assert names == COUNTS.keys() | LIKE.keys()
    for name in names:
        lines = text(name).split("\n")
        assert lines[0].startswith("# ")
        assert "# Look at: " in text(name)
        assert len(lines) <= 40
        assert max(map(len, lines)) <= 108


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(n, marks=pytest.mark.slow) for n in ("googlenet", "densenet121"))]
)
def test_logits_are_torchvisions_for_the_same_weights(name: str) -> None:
    import torchvision.models

    quiet = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    theirs = getattr(torchvision.models, name)(num_classes=10, **quiet).eval()
    here = text(name).replace("INPUT(224,224,3)", "INPUT(65,70,3)").replace("FC(1000)", "FC(10)")
    ours = build(here).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), weights(theirs, (3, 65, 70)), strict=True)))
    x = torch.randn(2, 3, 65, 70)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from striate.diagram import build, to_python, weights

EXAMPLES = Path(__file__).parents[2] / "examples" / "diagrams"


def body(source: str) -> list[str]:
    """The lines after the docstring of the file."""
    return source.split('"""\n', 2)[-1].strip().split("\n")


def test_a_chain_reads_like_hand_written() -> None:
    source = to_python(build("INPUT(28,28,1) => [CONV => RELU => POOL]*2 => FC(64) => RELU => DO => FC(10)"))
    assert (
        source
        == '''"""The network of this diagram.

INPUT(28,28,1) => [CONV => RELU => POOL]*2 => FC(64) => RELU => DO => FC(10)
"""

from torch import Tensor, nn


class Net(nn.Module):
    """(n, 1, 28, 28) -> (n, 10)"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten1 = nn.Flatten()
        self.fc1 = nn.Linear(3136, 64)
        self.relu3 = nn.ReLU()
        self.dropout1 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.conv1(x))  # (n, 32, 28, 28)
        x = self.pool1(x)  # (n, 32, 14, 14)
        x = self.relu2(self.conv2(x))  # (n, 64, 14, 14)
        x = self.pool2(x)  # (n, 64, 7, 7)
        x = self.flatten1(x)  # (n, 3136)
        x = self.dropout1(self.relu3(self.fc1(x)))  # (n, 64)
        return self.fc2(x)  # (n, 10)
'''
    )


def test_a_chain_keeps_the_names_of_its_weights() -> None:
    net = build("INPUT(8,8,1) => CONV(4, stride=2) => BN => RELU => { CONV(2) | SKIP } => FC(3)")
    plain = build("INPUT(8,8,1) => CONV(4) => BN => RELU6 => FC(3)")
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(to_python(plain), namespace)
    assert list(namespace["Net"]().state_dict()) == list(plain.state_dict())
    assert len(to_python(net).split("class ")) == 3


def test_dense_blocks_become_one_class_and_comprehensions() -> None:
    source = to_python(build((EXAMPLES / "densenet121.diagram").read_text()))
    assert "self.stage1 = nn.Sequential(*(Layer(c_in) for c_in in range(64, 256, 32)))" in source
    assert source.count("class ") == 2
    assert len(source.split("\n")) < 100


def test_deep_chains_become_loops() -> None:
    source = to_python(build("INPUT(8,8,4) => [CONV(4) => RELU]*100 => GAP"))
    assert "*(layer for _ in range(100) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()))" in source
    assert len(source.split("\n")) < 30


@pytest.mark.parametrize(
    "network",
    [
        "{ SKIP + SKIP }",
        "{ SKIP | SKIP } => RELU",
        "TANH => { SKIP + SKIP + SKIP } => TANH",
        "CONV(2) => { [CONV]*0 + SKIP } => BN",
        "{ SKIP | { SKIP + SKIP } | RELU }",
        "{ { SKIP + SKIP } + CONV(2) => SIGMOID } => RELU",
        "{ RELU => { SKIP | SKIP } | SKIP }",
    ],
)
def test_branches_that_do_nothing_have_no_attribute(network: str) -> None:
    net = build(f"INPUT(4,4,2) => {network}").eval()
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(to_python(net), namespace)
    copy = namespace["Net"]().eval()
    copy.load_state_dict(dict(zip(copy.state_dict(), weights(net), strict=True)))
    x = torch.randn(2, 2, 4, 4)
    torch.testing.assert_close(copy(x), net(x))


def test_helpers_come_along_only_where_they_are_used() -> None:
    source = to_python(build("INPUT(8,8,4) => MAXOUT(2) => CONV(4) => SE(2) => GAP"))
    assert [line for line in source.split("\n") if line.startswith("class ")] == [
        "class Maxout(nn.Module):",
        "class SqueezeExcite(nn.Module):",
        "class Net(nn.Module):",
    ]
    assert "import torch\n" in source
    assert "import torch.nn.functional as F" not in source


@pytest.mark.parametrize(
    "comment", ['""" + print(1) + """', "\\", '"""', "\\u0022", "\x1b[31m", 'quote at end "']
)
def test_comments_of_a_diagram_cannot_leave_the_docstring(comment: str) -> None:
    source = to_python(build(f"# {comment}\nINPUT(8,8,1) => FC(2)"))
    namespace: dict[str, object] = {}
    exec(compile(source, "generated", "exec"), namespace)
    assert "INPUT(8" in str(namespace["__doc__"])
    assert "Net" in namespace


def test_a_generated_file_passes_ruff(tmp_path: Path) -> None:
    for name in ("googlenet", "resnet18", "cifar10_cnn", "classroom"):
        with torch.device("meta"):
            net = build((EXAMPLES / f"{name}.diagram").read_text())
        (tmp_path / f"{name}.py").write_text(to_python(net))
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--line-length", "110"], ["format", "--check", "--line-length", "110"]):
        run = subprocess.run([*ruff, *command, "--isolated", str(tmp_path)], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "resnet18", "densenet121", "mobilenet_v2", "inception_v3"])
def test_torchvision_networks_as_source(name: str) -> None:
    import torchvision.models

    quiet = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = getattr(torchvision.models, name)(num_classes=10, **quiet).eval()
    shape = (3, 299, 299) if name == "inception_v3" else (3, 96, 96)
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(to_python(net, shape), namespace)
    copy = namespace["Net"]().eval()
    copy.load_state_dict(dict(zip(copy.state_dict(), weights(net, shape), strict=True)))
    x = torch.randn(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(copy(x), net(x), rtol=1e-4, atol=1e-5)

"""NASNet against Keras on TensorFlow, in a process of its own."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from striate import zoo
from striate.transfer import load_keras, to_keras
from striate.zoo import nasnet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("tensorflow") is None,
        reason="Keras refuses NASNet on its torch backend; TensorFlow is not installed: pip install tensorflow-cpu",
    ),
]


@pytest.mark.parametrize(
    ("name", "theirs"), [("nasnet_mobile", "NASNetMobile"), ("nasnet_large", "NASNetLarge")]
)
def test_same_as_keras_on_tensorflow(name, theirs, tmp_path):
    script = Path(__file__).with_name("nasnet_process.py")
    subprocess.run([sys.executable, script, theirs, "96", tmp_path / "said.npz"], check=True)
    said = np.load(tmp_path / "said.npz")

    ours = zoo.build(name, num_classes=10, dropout=0.0, **nasnet.KERAS).double()
    load_keras(ours, part(said, "weight "))
    x = torch.from_numpy(said["x"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = ours.eval()(x).numpy()
    assert abs(logits - said["logits"]).max() <= 1e-9 * abs(said["logits"]).max()

    F.cross_entropy(ours.train()(x), torch.arange(4)).backward()
    with torch.no_grad():
        for p in ours.parameters():
            p.copy_(p.grad)
    mine = to_keras(ours)
    least = 1e-3 * max(np.linalg.norm(grad) for grad in part(said, "gradient ").values())
    for key, grad in part(said, "gradient ").items():
        assert np.linalg.norm(mine[key] - grad) <= 1e-9 * max(np.linalg.norm(grad), least), key


def part(said: np.lib.npyio.NpzFile, prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, without it."""
    return {key.removeprefix(prefix): said[key] for key in said.files if key.startswith(prefix)}

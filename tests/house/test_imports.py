"""What starts fast stays fast: torch is imported by the jobs that compute, not before."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "matplotlib", "sklearn", "cv2", "pydantic")


def imported(code):
    """Which heavy modules a fresh interpreter holds after running `code`."""
    probe = f"import sys\n{code}\nprint([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "code",
    [
        "import striate; striate.__version__",
        "import striate.diagram; striate.diagram.parse('INPUT(8,8,1) => CONV => FC')",
        "import striate.zoo; striate.zoo.cards()",
        "from striate.cli import main; main(['--help'])",
        "from striate.cli import main; main(['models'])",
    ],
)
def test_nothing_heavy_is_imported(code):
    allowed = (
        ("[]", "['pydantic']") if "models" in code else ("[]",)
    )  # typer reads a verb's arguments with it
    assert imported(code) in allowed


def test_layers_import_torch_alone():
    assert imported("import striate.layers") in ("['torch']", "['torch', 'numpy']")


def test_reading_data_does_not_import_torchs_friends():
    assert imported("import striate.data") == "[]"


def test_nobody_is_told_that_openvino_is_used():
    """Its import and its converter send events, unless their sender is out of reach."""
    pytest.importorskip("openvino")
    code = (
        "import striate, sys, openvino.tools.ovc as o; print(type(o.telemetry).__module__, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().splitlines()[-1] == "openvino.tools.ovc.telemetry_stub"

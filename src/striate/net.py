"""NET, the word: what `plan` knows, or a run folder, or a model file."""

from pathlib import Path

from striate.errors import UsageError
from striate.plan import Net, Shape, is_diagram, plan

__all__ = ["Net", "resolve"]


def resolve(
    word: str | Path, input_shape: Shape | None = None, num_classes: int | None = None, values: bool = True
) -> Net:
    """The network that `word` names, trained if it names a run folder or a model file; shapes are (c, h, w).

    Without `values`, zoo networks and diagrams come on the meta device: for those who only ask for numbers.
    """
    path, word = Path(word), str(word)
    if not is_diagram(word) and (path.is_dir() or path.suffix == ".safetensors"):
        return _trained(path, input_shape, num_classes)
    found = plan(word)
    if values or found.origin["kind"] == "factory":  # foreign code may compute with values as it builds
        return found.build(input_shape, num_classes)
    import torch

    with torch.device("meta"):
        return found.build(input_shape, num_classes)


def _trained(path: Path, input_shape: Shape | None, num_classes: int | None) -> Net:
    from striate.train import Run, load

    model = Run.open(path).model() if path.is_dir() else load(path)
    if num_classes not in (None, model.outputs):
        raise UsageError(f"{path} gives {model.outputs} outputs, not {num_classes}")
    return Net(model.module, input_shape or model.input_shape, path.name, model.origin)

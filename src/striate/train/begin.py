"""What a recipe changes in a fresh network, or asks of it: weights by name, whitening, stochastic depth, sizes."""

import warnings

import torch
from torch import Tensor, nn

from striate.anatomy.advice import bounded_outputs
from striate.data import DataSet
from striate.diagram.graph import trace
from striate.errors import Note, StriateError, UsageError, one_line
from striate.layers import StochasticDepth, initialise
from striate.train.engine import all_heads
from striate.train.recipe import Recipe
from striate.train.schedule import grown
from striate.zoo.network import ZooNet

PATCH_IMAGES = 256
PATCHES = 32  # about so many along a side of an image
EPS = 5e-4  # added to the variance of patches, in units of standardised pixels: faint directions aren't blown up


def prepare_network(module: nn.Module, recipe: Recipe, data: DataSet) -> None:
    """Apply `init`, `drop_path` and `whiten`; raises UsageError where they, `grow` or `aux_weight` don't suit it.

    A network whose outputs are no logits is noted in a warning.
    """
    if recipe.init is not None:
        initialise(module, recipe.init)
    if recipe.drop_path is not None:
        set_drop_path(module, recipe.drop_path)
    if recipe.whiten:
        step = max(1, len(data.train) // PATCH_IMAGES)
        rows = range(0, len(data.train), step)
        whiten(module, data.preprocess.normalise(data.train.read(list(rows)[:PATCH_IMAGES])))
    if recipe.grow is not None:
        check_sizes(module, data.shape, recipe.grow)
    if recipe.aux_weight != Recipe.model_fields["aux_weight"].default:
        check_auxiliary(module, data.shape)
    if not isinstance(module, ZooNet):
        _note_ending(module, data.shape)


def _note_ending(module: nn.Module, shape: tuple[int, int, int]) -> None:
    """A network whose outputs are no logits trains, but what it says of itself is worth little."""
    try:
        told = bounded_outputs(trace(module, shape))
    except UsageError:  # what can't be followed is not judged
        return
    if told:
        warnings.warn(Note(told), stacklevel=3)


def set_drop_path(module: nn.Module, last: float) -> None:
    """Branch l of L is dropped with probability l / L * `last`.  Huang et al., 2016, arXiv:1603.09382, eq. 4."""
    branches = [m for m in module.modules() if isinstance(m, StochasticDepth)]
    if not branches:
        raise UsageError(
            "--drop-path: the network has no stochastic depth", "DROPPATH in a diagram's branches"
        )
    for number, branch in enumerate(branches, 1):
        branch.p = last * number / len(branches)


def whiten(module: nn.Module, images: Tensor) -> None:
    """Make the first convolution of `module` project patches on their principal directions, each to variance 1.

    Its kernels are the eigenvectors of the covariance of patches over the square roots of their eigenvalues, the
    strongest first, then their negatives; channels beyond those keep their weights. They're no longer trained, a
    bias is.  Jordan, 2024, arXiv:2404.00498, section 3.1. images: standardised (n, c, h, w)
    """
    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)), None)
    if not isinstance(first, nn.Conv2d) or first.groups > 1 or first.in_channels != images.shape[1]:
        raise UsageError("--whiten: the network doesn't begin with a convolution over all channels")
    weight = first.weight
    c_out, size = weight.shape[0], tuple(weight.shape[2:])
    if c_out < 2:
        raise UsageError("--whiten: the first convolution has one channel only")
    step = [max(1, side // PATCHES) for side in images.shape[2:]]
    patches = images.unfold(2, size[0], step[0]).unfold(3, size[1], step[1]).permute(0, 2, 3, 1, 4, 5)
    covariance = patches.reshape(-1, weight[0].numel()).T.cov().double()
    values, vectors = torch.linalg.eigh(covariance + EPS * torch.eye(len(covariance)))
    kernels = (vectors / values.sqrt()).T.flip(0)[: c_out // 2].reshape(-1, *weight.shape[1:])
    with torch.no_grad():
        weight[: len(kernels)] = kernels
        weight[len(kernels) : 2 * len(kernels)] = -kernels
        if first.bias is not None:
            first.bias.zero_()
    weight.requires_grad_(False)


def check_auxiliary(module: nn.Module, shape: tuple[int, int, int]) -> None:
    """Raises UsageError where `module` has no auxiliary heads."""
    was_training = module.training
    with torch.inference_mode():
        _, auxiliary = all_heads(module.eval(), torch.zeros(1, *shape))
    module.train(was_training)
    if not auxiliary:
        raise UsageError("--aux-weight: the network has no auxiliary heads", "googlenet(aux_heads=true) has")


def check_sizes(module: nn.Module, shape: tuple[int, int, int], first: float) -> None:
    """Raises UsageError where `module` can't take images (c, h, w) at every size from `first` of the full one on."""
    was_training = module.training
    module.eval()
    try:
        for size in dict.fromkeys(grown(shape[1:], first, k / 100) for k in range(100)):
            with torch.inference_mode():
                all_heads(module, torch.zeros(1, shape[0], *size))
    except (RuntimeError, ValueError, StriateError) as error:
        raise UsageError(
            f"--grow: the network doesn't take images of {size[0]} x {size[1]}: {one_line(error)}",
            "a larger share, or a network that ends in GAP or GMP",
        ) from None
    finally:
        module.train(was_training)

"""Losses by name, each a mean over the batch in which images may count more or less, and which answers are right.

Targets are class numbers (n,), or (n, k) of 0 to 1: several labels an image, or a mixture of two images' classes.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# of logits, targets and, if images count differently, weights: (n,), or (n, k) where there is a yes or no for each
Loss = Callable[..., Tensor]
SURE = 1e-12  # the least 1 - p that focal raises to a power, whose slope at 0 may be infinite


def loss_function(name: str, smoothing: float = 0.0, gamma: float = 2.0, several: bool = False) -> Loss:
    """The loss `name` of logits against targets, weighted or not.    (n, k), (n,) or (n, k), weights -> ()

    One logit, or several labels an image, make `binary-cross-entropy` and `focal` a yes or no for each logit.
    """
    if name == "cross-entropy":
        return lambda logits, y, w=None: mean(
            F.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none"), w
        )
    power = gamma if name == "focal" else 0.0
    if several or name == "binary-cross-entropy":
        return lambda logits, y, w=None: mean(binary(logits, y, smoothing, power), w)
    return lambda logits, y, w=None: mean(focal(logits, y, smoothing, power), w)


def mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """sum w l / n.    (n,) or (n, k), weights of as many dimensions or fewer -> ()"""
    if weights is None:
        return losses.mean()
    return (losses * weights.view(*weights.shape, *[1] * (losses.ndim - weights.ndim))).mean()


def binary(logits: Tensor, y: Tensor, smoothing: float = 0.0, gamma: float = 0.0) -> Tensor:
    """-(1 - p)^gamma ln p of every logit, p the probability given to the right one of yes and no.    -> (n, k)

    Smoothing moves the targets 0 and 1 towards 1/2.  Lin et al., 2017, arXiv:1708.02002, section 3.
    """
    y = F.one_hot(y, 2).to(logits.dtype) if y.ndim == 1 else y.to(logits.dtype)
    if logits.shape[1] == 1:
        y = y[:, 1:]  # of two classes, the second is the yes
    y = y * (1 - smoothing) + smoothing / 2
    loss = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    if gamma:
        p = logits.sigmoid()
        loss = loss * (1 - (p * y + (1 - p) * (1 - y))).clamp_min(SURE) ** gamma
    return loss


def focal(logits: Tensor, y: Tensor, smoothing: float = 0.0, gamma: float = 2.0) -> Tensor:
    """-sum_k y_k (1 - p_k)^gamma ln p_k: what is easy counts less.    (n, k), (n,) or (n, k) -> (n,)"""
    log_p = logits.log_softmax(dim=1)
    k = logits.shape[1]
    y = F.one_hot(y, k).to(logits.dtype) if y.ndim == 1 else y
    y = y * (1 - smoothing) + smoothing / k
    return -(y * (1 - log_p.exp()).clamp_min(SURE) ** gamma * log_p).sum(dim=1)


def right(logits: Tensor, y: Tensor, several: bool = False) -> Tensor:
    """Whether each image is all right: its most probable class, or every one of its labels.    -> (n,) of bool"""
    if several:
        return ((logits > 0) == (y > 0.5)).all(dim=1)
    truth = y.argmax(dim=1) if y.ndim == 2 else y
    return (logits[:, 0] > 0).long() == truth if logits.shape[1] == 1 else logits.argmax(dim=1) == truth


def to_probabilities(logits: Tensor, several: bool = False) -> Tensor:
    """Softmax of k logits; one logit is the log-odds of the second of two classes; several labels, a sigmoid each."""
    if several:
        return logits.sigmoid()
    if logits.shape[1] == 1:
        p = logits.sigmoid()
        return torch.cat((1 - p, p), dim=1)
    return logits.softmax(dim=1)

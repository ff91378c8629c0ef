"""New heads: what follows the frozen base. Each ends as plain layers, so that the whole is an ordinary network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from striate.errors import UsageError
from striate.layers.chain import chain
from striate.zoo.network import ZooNet, scorer

KINDS = ("linear", "mlp", "logistic", "knn")
FLOOR = 1e-6  # of the votes: a class without any has a logit all the same


class NearestNeighbours(nn.Module):
    """log of the share of votes, of the k most similar training images, each for its class.    (n, d) -> (n, classes)

    Similarity is the cosine s, and a vote counts exp(s / temperature).  Wu et al., 2018, arXiv:1805.01978, eq. 9.
    """

    memory: Tensor
    labels: Tensor

    def __init__(self, rows: int, d: int, classes: int, k: int = 20, temperature: float = 0.07) -> None:
        super().__init__()
        self.classes, self.k, self.temperature = classes, min(k, rows), temperature
        self.register_buffer("memory", torch.zeros(rows, d))
        self.register_buffer("labels", torch.zeros(rows, dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        similarity = nn.functional.normalize(x.to(self.memory.dtype), dim=1) @ self.memory.T
        top, where = similarity.topk(self.k, dim=1)
        votes = torch.zeros(len(x), self.classes, device=x.device).scatter_add(
            1, self.labels[where], (top / self.temperature).softmax(1).float()
        )
        return votes.clamp_min(FLOOR).log()

    def extra_repr(self) -> str:
        return f"{self.classes}, k={self.k}"


def attach(net: ZooNet, spec: dict[str, Any], num_classes: int) -> ZooNet:
    """Put a head as `spec` describes it, `{"kind": "mlp", "hidden": 256}`, where the scoring layer was."""
    old = scorer(net.head)[1]
    if not isinstance(old, nn.Linear):
        raise UsageError(f"a convolution scores the classes: no {spec['kind']} head fits", "--head linear")
    return replace_scorer(net, make(spec, old.in_features, num_classes))


def replace_scorer(net: ZooNet, head: nn.Module) -> ZooNet:
    """`net` with `head` in the place of the layer that scores the classes."""
    net.head.set_submodule(scorer(net.head)[0], head)
    return net


def make(spec: dict[str, Any], d: int, num_classes: int) -> nn.Module:
    """The head of a description, without values."""
    if spec["kind"] == "mlp":
        hidden = int(spec["hidden"])
        return chain(
            fc1=nn.Linear(d, hidden), relu=nn.ReLU(), drop=nn.Dropout(0.5), fc2=nn.Linear(hidden, num_classes)
        )
    if spec["kind"] == "knn":
        return NearestNeighbours(int(spec["rows"]), d, num_classes, int(spec["k"]))
    raise UsageError(f"unknown kind of head {spec['kind']!r}")


def nearest_neighbours(
    x: Tensor, y: Tensor, num_classes: int, k: int = 20
) -> tuple[NearestNeighbours, dict[str, Any]]:
    """The head that remembers features (n, d) and labels (n,), with its description."""
    head = NearestNeighbours(len(x), x.shape[1], num_classes, k)
    head.memory.copy_(nn.functional.normalize(x, dim=1))
    head.labels.copy_(y)
    return head, {"kind": "knn", "k": head.k, "rows": len(x)}


def logistic(x: Tensor, y: Tensor, num_classes: int, c: float = 1.0) -> nn.Linear:
    """Multinomial logistic regression by scikit-learn, as a dense layer.    (n, d), (n,)

    Minimises sum of losses + ||w||^2 / 2c over standardised features.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(y)) < 2:
        raise UsageError("logistic regression needs training images of two classes at least", "--head linear")
    mean, std = moments(x)
    fitted = LogisticRegression(C=c, max_iter=1000).fit(((x - mean) / std).numpy(), y.numpy())
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:  # of two classes scikit-learn keeps the log-odds of the second
        weight, bias = np.stack([-weight[0], weight[0]]) / 2, np.stack([-bias[0], bias[0]]) / 2
    head = nn.Linear(x.shape[1], num_classes)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, -50.0)  # a class without a training image is never the answer
    with torch.no_grad():
        head.weight[fitted.classes_] = torch.from_numpy(weight).float()
        head.bias[fitted.classes_] = torch.from_numpy(bias).float()
    fold(head, mean, std)
    return head


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of every feature, over images and places; of a constant one the spread counts as 1.    (d,)"""
    over = [i for i in range(x.ndim) if i != 1]
    std = x.std(over, correction=0)
    return x.mean(over), torch.where(std > 1e-6, std, torch.ones_like(std))


@torch.no_grad()
def fold(layer: nn.Linear | nn.Conv2d, mean: Tensor, std: Tensor) -> None:
    """Make a layer that was trained on (x - mean) / std take x."""
    weight = layer.weight
    scaled = weight / std.view(1, -1, *[1] * (weight.ndim - 2))
    if layer.bias is not None:
        layer.bias -= torch.einsum("od...,d->o", scaled, mean)
    weight.copy_(scaled)

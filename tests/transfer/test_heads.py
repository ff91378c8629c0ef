"""Heads against scikit-learn's own classifiers on the same features."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from striate import zoo
from striate.errors import UsageError
from striate.transfer.heads import attach, fold, logistic, make, moments, nearest_neighbours


@pytest.fixture(params=[2, 4])
def blobs(request):
    rng, k = np.random.default_rng(0), request.param
    centres = rng.normal(size=(k, 10)) * 2
    y = np.arange(200) % k
    x = (centres[y] + rng.normal(size=(200, 10)) * 2) * rng.uniform(0.1, 10, 10) + rng.normal(size=10) * 5
    return torch.from_numpy(x).float(), torch.from_numpy(y), k


def test_logistic_regression_is_scikit_learns(blobs):
    x, y, k = blobs
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegression(max_iter=1000).fit(scaler.transform(x), y)
    mine = logistic(x, y, k)(x).softmax(1)
    np.testing.assert_allclose(mine.detach(), theirs.predict_proba(scaler.transform(x)), atol=1e-3)


def test_a_class_without_images_is_never_the_answer():
    x, y = torch.randn(40, 3), torch.arange(40) % 2 * 2
    assert set(logistic(x, y, 4)(x).argmax(1).tolist()) <= {0, 2}
    with pytest.raises(UsageError, match="two classes"):
        logistic(x, y * 0, 4)


def test_neighbours_vote_as_scikit_learns_do(blobs):
    x, y, k = blobs
    head, spec = nearest_neighbours(x, y, k, k=7)
    unit = nn.functional.normalize(x, dim=1).numpy()
    theirs = KNeighborsClassifier(7, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)).fit(unit, y)
    np.testing.assert_allclose(head(x).softmax(1), theirs.predict_proba(unit), atol=1e-3)
    assert spec == {"kind": "knn", "k": 7, "rows": 200}
    assert nearest_neighbours(x[:3], y[:3], k)[1]["k"] == 3  # fewer images than neighbours


@pytest.mark.parametrize("layer", [nn.Linear(5, 3), nn.Conv2d(5, 3, 1), nn.Conv2d(5, 3, 1, bias=False)])
def test_fold_undoes_a_standardisation(layer):
    x = torch.randn(20, 5, *[4] * (layer.weight.ndim - 2)) * 3 + 2
    x[:, 1] = 7  # a feature that never changes
    mean, std = moments(x)
    shape = (1, -1, *[1] * (x.ndim - 2))
    if layer.bias is None:
        mean = torch.zeros(5)
    with torch.no_grad():
        expected = layer((x - mean.view(shape)) / std.view(shape))
        fold(layer, mean, std)
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
        fold(layer, -mean / std, 1 / std)
        torch.testing.assert_close(
            layer((x - mean.view(shape)) / std.view(shape)), expected, rtol=1e-4, atol=1e-5
        )


def test_heads_by_description():
    net = attach(zoo.build("resnet8"), {"kind": "mlp", "hidden": 32}, 3)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    assert net.num_classes == 3
    with pytest.raises(UsageError, match="a convolution scores the classes: no mlp head fits"):
        attach(zoo.build("nin"), {"kind": "mlp", "hidden": 32}, 3)
    with pytest.raises(UsageError, match="unknown kind of head 'svm'"):
        make({"kind": "svm"}, 4, 2)

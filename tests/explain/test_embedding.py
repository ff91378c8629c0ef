"""Features are what enters the last layer; planes and neighbours beside their definitions."""

import numpy as np
import pytest
import torch

from striate import zoo
from striate.errors import UsageError
from striate.explain.embedding import colour, embed, neighbours, plane, scatter


def test_features_are_what_the_last_layer_weighs(plain, images):
    points = embed(plain, images.split(2))
    with torch.no_grad():
        torch.testing.assert_close(plain.fc(torch.from_numpy(points)), plain.eval()(images))


def test_a_network_without_dense_layers_gives_the_mean_of_its_last_maps():
    net = zoo.build("squeezenet1_1", num_classes=7).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(embed(net, [x])), net(x))


def test_the_plane_of_most_variance():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 6)).astype(np.float32) * [9, 5, 1, 1, 1, 1]
    centred = points - points.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(plane(points)), np.abs(u[:, :2] * s[:2]), rtol=1e-3, atol=1e-3)


def test_one_feature_makes_a_plane_too():
    assert np.isfinite(plane(np.arange(9, dtype=np.float32)[:, None], "tsne")).all()


def test_tsne_keeps_clusters_together():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(m, 0.1, (30, 10)) for m in (0, 5)]).astype(np.float32)
    places = plane(points, "tsne")
    left, right = places[:30].mean(0), places[30:].mean(0)
    assert np.linalg.norm(left - right) > 2 * max(places[:30].std(), places[30:].std())


def test_neighbours_are_the_nearest_without_oneself():
    points = np.array([[0.0], [1.0], [3.0], [3.5]], np.float32)
    assert neighbours(points, 2).tolist() == [[1, 2], [0, 2], [3, 1], [2, 1]]
    assert neighbours(points, 9).shape == (4, 3)


def test_thumbnails_stand_at_their_places_in_the_colour_of_their_class():
    places = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    pictures = [np.full((4, 4, 3), v, np.uint8) for v in (10, 200)]
    page = np.asarray(scatter(places, pictures, [0, 1], ["cat", "dog"], side=200))
    assert page[24, 24].tolist() == [10] * 3
    assert page[176, 176].tolist() == [200] * 3
    assert page[0, 0].tolist() == [int(colour(0)[i : i + 2], 16) for i in (1, 3, 5)]
    assert page[199, 199].tolist() == [int(colour(1)[i : i + 2], 16) for i in (1, 3, 5)]


def test_bad_requests(plain):
    with pytest.raises(UsageError, match="no images to embed"):
        embed(plain, [])
    with pytest.raises(UsageError, match="unknown way to a plane 'umap'"):
        plane(np.zeros((5, 2), np.float32), "umap")
    with pytest.raises(UsageError, match="at least 3"):
        plane(np.zeros((2, 2), np.float32))
    with pytest.raises(UsageError, match="the same in every image"):
        plane(np.ones((9, 4), np.float32), "tsne")
    with pytest.raises(UsageError, match="no neighbours"):
        neighbours(np.zeros((1, 2), np.float32))

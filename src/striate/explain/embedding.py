"""A data set as the network sees it: what enters its last layer, drawn on a plane, and who is near whom."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from striate.errors import UsageError
from striate.explain.layers import Maps, choose
from striate.explain.picture import COLOURS, Panel, Pixels, font, grid
from striate.explain.probe import asked, images_of, logits_of, record

Points = NDArray[np.float32]

ROUNDS = 500  # of t-SNE, the first 250 with its early exaggeration
FEW = 1000  # points


def embed(module: nn.Module, batches: Iterable[Tensor]) -> Points:
    """What enters the last dense layer, or the mean of the last maps where there is none.    -> (n, d)"""
    rows: list[Tensor] = []
    last: Maps | None = None
    with asked(module) as net, torch.no_grad():
        dense = [m for m in net.modules() if isinstance(m, nn.Linear)]
        for batch in batches:
            x = images_of(net, batch)
            if dense:
                rows.append(_entering(net, x, dense))
            else:
                last = last or choose(net, x)
                rows.append(last.layout.maps(record(net, x, [last.path])[last.path]).mean((2, 3)))
    if not rows:
        raise UsageError("there are no images to embed")
    return torch.cat(rows).float().cpu().numpy()


def _entering(net: nn.Module, x: Tensor, dense: Sequence[nn.Module]) -> Tensor:
    """The input of the dense layer that is called last.    -> (n, d)"""
    seen: list[Tensor] = []
    handles = [
        m.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone())) for m in dense
    ]
    try:
        logits_of(net, x)
    finally:
        for handle in handles:
            handle.remove()
    return seen[-1].flatten(1)


def plane(points: Points, how: str = "pca", seed: int = 0) -> Points:
    """(n, d) -> (n, 2): the two directions of most variance, or t-SNE after 50 of them."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if how not in ("pca", "tsne"):
        raise UsageError(f"unknown way to a plane {how!r}", "pca or tsne")
    n, d = points.shape
    if n < 3:
        raise UsageError(f"{n} images: a plane takes at least 3")
    if not np.isfinite(points).all() or not np.ptp(points, axis=0).any():
        raise UsageError("the network sees the same in every image: there is nothing to lay out")
    kept = min(n, d, 2 if how == "pca" else 50)
    flat = PCA(kept, random_state=seed).fit_transform(points)
    if how == "tsne":
        # threads that wait for each other make a few hundred points slower
        with threadpool_limits(1 if n < FEW else None):
            flat = TSNE(
                2,
                perplexity=min(30.0, (n - 1) / 3),
                init="pca" if flat.shape[1] > 1 else "random",
                max_iter=ROUNDS,
                random_state=seed,
            ).fit_transform(flat)
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1]))).astype(np.float32) if flat.shape[1] < 2 else flat


def neighbours(points: Points, k: int = 5) -> NDArray[np.int64]:
    """The k images nearest to each in feature space, nearest first, itself left out.    (n, d) -> (n, k)"""
    from sklearn.neighbors import NearestNeighbors

    if len(points) < 2:
        raise UsageError("one image has no neighbours")
    return NearestNeighbors(n_neighbors=min(k, len(points) - 1)).fit(points).kneighbors(return_distance=False)


def scatter(
    places: Points, pictures: Sequence[Pixels], labels: Sequence[int], classes: Sequence[str], side: int = 900
) -> Image.Image:
    """Thumbnails at their places (n, 2), framed in the colour of their class, with a legend."""
    size = int(np.clip(side / max(1, len(places)) ** 0.5, 14, 48))
    low, span = places.min(0), np.maximum(np.ptp(places, axis=0), 1e-9)
    shown = sorted(set(labels))
    page = Image.new("RGB", (side, side + 20 * (1 + len(shown) // 8)), "white")
    draw = ImageDraw.Draw(page)
    for place, pixels, label in zip(places, pictures, labels, strict=True):
        x, y = ((place - low) / span * (side - size)).astype(int).tolist()
        draw.rectangle((x, y, x + size - 1, y + size - 1), fill=colour(label))
        page.paste(Image.fromarray(pixels).resize((size - 4, size - 4)), (x + 2, y + 2))
    for i, label in enumerate(shown):
        x, y = 6 + i % 8 * (side // 8), side + 4 + 20 * (i // 8)
        draw.rectangle((x, y, x + 11, y + 11), fill=colour(label))
        draw.text((x + 16, y - 1), classes[label][:14], "black", font())
    return page


def colour(label: int) -> str:
    """The colour of a class; ten of them, then from the first again."""
    return COLOURS[label % len(COLOURS)]


def neighbour_panels(
    near: NDArray[np.int64], pictures: Sequence[Pixels], labels: Sequence[str], rows: Iterable[int]
) -> list[Panel]:
    """For some images: the image, then its nearest, as one strip each."""
    return [
        Panel(grid([pictures[j] for j in (i, *near[i].tolist())], columns=1 + near.shape[1]), labels[i])
        for i in rows
    ]

"""MNIST, Fashion-MNIST and CIFAR: where their publishers keep them, and how long and what they are."""

import os
from pathlib import Path

from striate.data.fetch import Progress, RemoteFile, fetch
from striate.data.files import home
from striate.data.source import Source
from striate.errors import UsageError, nearest


def _idx(base: str, *files: tuple[str, int, str]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(f"{base}{name}-ubyte.gz", size, sha) for name, size, sha in files)


PUBLISHED: dict[str, tuple[RemoteFile, ...]] = {
    # LeCun's own page is closed to programs; this is the copy that PyTorch keeps of it
    "mnist": _idx(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ("train-images-idx3", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion_mnist": _idx(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ("train-images-idx3", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ("train-labels-idx1", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    "cifar10": (
        RemoteFile(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    "cifar100": (
        RemoteFile(
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
}
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def open_named(name: str, offline: bool = False, progress: Progress | None = None) -> Source:
    """The data set of that name, downloaded if it isn't there yet."""
    from striate.data import cifar, idx
    from striate.data.tree import Folder

    folder = download(name, offline=offline, progress=progress)
    if name.startswith("cifar"):
        file = folder / PUBLISHED[name][0].name
        return cifar.from_tar(file.read_bytes(), name, str(file))
    classes = FASHION if name == "fashion_mnist" else tuple("0123456789")
    return idx.from_tree(Folder(str(folder)), name, classes)


def download(
    name: str, folder: str | Path | None = None, *, offline: bool = False, progress: Progress | None = None
) -> Path:
    """Fetches what is missing of a published data set -> the folder that holds it (`STRIATE_HOME/data/NAME`).

    `offline`, or the environment variable STRIATE_OFFLINE=1, forbids the network; the error then says which
    file belongs where.
    """
    if name not in PUBLISHED:
        known = f"known: {', '.join(PUBLISHED)}"
        raise UsageError(f"no data set {name!r} to download", nearest(name, PUBLISHED) or known)
    target = Path(folder) if folder else home() / "data" / name
    offline = offline or os.environ.get("STRIATE_OFFLINE", "") not in ("", "0")
    for file in PUBLISHED[name]:
        fetch(file, target / file.name, offline=offline, progress=progress)
    return target

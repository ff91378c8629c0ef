"""The cache gives back what was decoded: across runs, after kill -9, beside another run, on a full disk."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import Loader, load
from striate.data.cache import DiskCache, RamCache, cache_key
from striate.data.files import home
from striate.data.preprocess import Preprocess
from striate.errors import UsageError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of twenty random JPEGs, 40x50."""
    rng = np.random.default_rng(0)
    for i in range(40):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8)).resize((50, 40)))
        Image.fromarray(pixels).save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.jpg")
    return tmp_path / "photos"


def everything(data) -> torch.Tensor:  # type: ignore[no-untyped-def]
    return torch.cat([p.read(range(len(p))) for p in data.parts().values()])


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    from striate.data import folder

    real, calls = folder.decode, [0]

    def counted(*args, **kwargs):  # type: ignore[no-untyped-def]
        calls[0] += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(folder, "decode", counted)
    return calls


def test_what_it_took_before_is_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with room for 16 rows, of which a cache takes half at most."""
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path))
    shape, size = (256, 1024, 1), 1 << 18

    def with_free(rows: int) -> DiskCache:
        monkeypatch.setattr(
            "striate.data.cache.shutil.disk_usage", lambda _: SimpleNamespace(free=rows * size)
        )
        return DiskCache("key", 8, shape)

    first = with_free(16)
    assert first.nbytes == 8 * size
    for row in range(8):
        first.put(row, np.full(shape, row, np.uint8))
    del first
    assert with_free(8).nbytes == 8 * size  # the other eight are its own


@pytest.mark.parametrize(
    ("kind", "first", "again", "next_run"), [("off", 68, 40, 68), ("ram", 40, 0, 40), ("disk", 40, 0, 0)]
)
def test_each_image_is_decoded_once(
    photos: Path, monkeypatch, kind, first: int, again: int, next_run: int
) -> None:
    calls = count_decodes(monkeypatch)  # 28 train images are read for their mean
    data = load(photos, img_size=32, cache=kind)
    expected = everything(data)
    assert calls == [first]
    calls[0] = 0
    assert torch.equal(everything(data), expected)
    assert calls == [again]
    calls[0] = 0
    assert torch.equal(everything(load(photos, img_size=32, cache=kind)), expected)
    assert calls == [next_run]


def test_key_changes_with_contents_and_settings() -> None:
    digests = np.arange(5, dtype=np.uint64)
    base = cache_key(digests, Preprocess((8, 8)))
    assert base == cache_key(digests.copy(), Preprocess((8, 8), mean=(0.1, 0.1, 0.2)))
    others = [
        cache_key(digests[::-1].copy(), Preprocess((8, 8))),
        cache_key(digests, Preprocess((8, 9))),
        cache_key(digests, Preprocess((8, 8), "pad")),
        cache_key(digests, Preprocess((8, 8), channels=1, mean=(0,), std=(1,))),
        cache_key(digests, Preprocess((8, 8), "crop", crop_pct=0.9)),
        cache_key(digests, Preprocess((8, 8), interpolation="bicubic")),
    ]
    assert len({base, *others}) == 7


def test_changed_file_is_decoded_anew(photos: Path) -> None:
    data = load(photos, img_size=32)
    everything(data)
    name = data.train.ids[0]
    Image.new("RGB", (50, 40), (9, 99, 199)).save(photos / name, quality=100, subsampling=0)
    fresh = load(photos, img_size=32)
    pixels = fresh.train.read([list(fresh.train.ids).index(name)])[0]
    assert (pixels.float().mean((1, 2)) - torch.tensor([9.0, 99.0, 199.0])).abs().max() < 3


def test_falsified_row_is_not_believed(photos: Path) -> None:
    expected = everything(load(photos, img_size=32))
    (file,) = (home() / "cache").glob("*/pixels")
    data = bytearray(file.read_bytes())
    for row in range(0, 40, 3):
        data[row * 3 * 32 * 32 + 17] ^= 0x40
    file.write_bytes(data)
    assert torch.equal(everything(load(photos, img_size=32)), expected)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_pixels_that_a_power_cut_lost_are_decoded_anew(photos: Path, keep: float) -> None:
    expected = everything(load(photos, img_size=32))
    (file,) = (home() / "cache").glob("*/pixels")
    os.truncate(file, int(file.stat().st_size * keep))
    assert torch.equal(everything(load(photos, img_size=32)), expected)


CHILD = """
import sys
from striate.data import Loader, load
data = load(sys.argv[1], img_size=32)
print('ready', flush=True)
for epoch in range(int(sys.argv[2])):
    for part in data.parts().values():
        for x, y in Loader(part, 3, epoch=epoch, workers=2):
            pass
"""


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_time_leaves_nothing_false(photos: Path, rounds: int) -> None:
    expected = everything(load(photos, img_size=32, cache="off"))
    rng = random.Random(0)
    for _ in range(rounds):
        child = subprocess.Popen([sys.executable, "-c", CHILD, photos, "1000"], stdout=subprocess.PIPE)
        assert child.stdout
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert torch.equal(everything(load(photos, img_size=32)), expected)
        for file in (home() / "cache").glob("*/sums"):
            os.truncate(file, 4 * rng.randrange(40))


def test_two_runs_at_once(photos: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, photos, "2"], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [c.wait() for c in children] == [0, 0]
    expected = everything(load(photos, img_size=32, cache="off"))
    assert torch.equal(everything(load(photos, img_size=32)), expected)
    assert len(list((home() / "cache").iterdir())) == 1


def test_full_disk_only_costs_time(photos: Path) -> None:
    code = (
        "import resource, signal, sys, torch; from striate.data import load\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "data = load(sys.argv[1], img_size=32); plain = load(sys.argv[1], img_size=32, cache='off')\n"
        "for _ in range(2):\n"
        "    for a, b in zip(data.parts().values(), plain.parts().values()):\n"
        "        assert torch.equal(a.read(range(len(a))), b.read(range(len(b))))\n"
    )
    subprocess.run([sys.executable, "-c", code, photos], check=True)


def test_home_that_cannot_be_written(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path / "file"))
    data = load(photos, img_size=32)
    assert data.cache == ""
    assert len(everything(data)) == 40


def test_limit_bounds_rows_and_puts_out_the_longest_unused() -> None:
    shape = (3, 10, 10)
    row = np.arange(300, dtype=np.uint8).reshape(shape)
    out = np.empty_like(row)
    small = DiskCache("small", 10, shape, limit=900)
    small.put(2, row)
    small.put(3, row)
    assert small.nbytes == 900
    assert small.get(2, out)
    assert (out == row).all()
    assert not small.get(3, out)
    del small
    os.utime(home() / "cache" / "small", (1, 1))
    used = DiskCache("used", 1, shape, limit=1 << 20)
    used.put(0, row)
    DiskCache("new", 1, shape, limit=1000)
    assert sorted(f.name for f in (home() / "cache").iterdir()) == ["new", "used"]


def test_ram_is_bounded_too() -> None:
    cache = RamCache(10, (1, 2, 2), limit=9)
    row, out = np.full((1, 2, 2), 5, np.uint8), np.zeros((1, 2, 2), np.uint8)
    cache.put(1, row)
    cache.put(2, row)
    assert cache.nbytes == 8
    assert cache.get(1, out)
    assert (out == 5).all()
    assert not cache.get(2, out)


def test_unknown_kind(photos: Path) -> None:
    with pytest.raises(UsageError, match="unknown cache 'disc'") as e:
        load(photos, cache="disc")  # type: ignore[arg-type]
    assert "disk" in e.value.hint


def test_batches_are_the_same_with_and_without(photos: Path) -> None:
    batches = [
        torch.cat([x for x, _ in Loader(load(photos, img_size=32, cache=kind).train, 8, seed=3, workers=w)])  # type: ignore[arg-type]
        for kind, w in (("off", 0), ("disk", 2), ("disk", 1), ("ram", 2))
    ]
    assert all(torch.equal(b, batches[0]) for b in batches)

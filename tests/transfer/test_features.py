from itertools import islice

import numpy as np
import pytest
import torch

from striate import zoo
from striate.data import ArrayImages, Preprocess
from striate.transfer import extract
from striate.transfer.extract import extractor
from striate.transfer.features import BATCH, Features
from striate.transfer.parts import base_and_tail

PREPARE = Preprocess((32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path))


def split(n, seed=0):
    pixels = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 3, 32, 32), np.uint8))
    return ArrayImages(pixels, np.zeros(n, np.int64), [str(i) for i in range(n)])


def reader(net, counted=None, **more):
    found = Features(base_and_tail(net)[0], PREPARE.normalise, PREPARE, **more)
    if counted is not None:
        compute = found._compute
        found._compute = lambda images, workers: (counted.append(len(images)), compute(images, workers))[1]
    return found


def test_features_are_what_the_head_sees():
    net = zoo.build("resnet8").eval()
    images = split(70)
    with torch.no_grad():
        expected = net.head.pool(net.features(PREPARE.normalise(images.pixels)))
    torch.testing.assert_close(reader(net).of(images), expected, rtol=1e-4, atol=1e-4)


def test_no_image_is_computed_twice_in_any_run():
    net, counted = zoo.build("resnet8"), []
    images = split(40)
    first = reader(net, counted).of(images)
    again = reader(net, counted)
    assert torch.equal(again.of(images), first)
    order = np.random.default_rng(1).permutation(40)[:30]
    mixed = ArrayImages(
        torch.cat([images.pixels[order], split(5, seed=9).pixels]), np.zeros(35, np.int64), [""] * 35
    )
    assert torch.equal(again.of(mixed)[:30], first[order])
    assert counted == [40, 5]


def test_equal_images_are_kept_once_and_found_for_both():
    net = zoo.build("resnet8")
    one = split(3)
    twice = ArrayImages(one.pixels[[0, 1, 0, 2]], np.zeros(4, np.int64), [""] * 4)
    found = reader(net).of(twice)
    assert torch.equal(found[0], found[2])
    assert len(reader(net).store.digests) == 3


def test_other_weights_pixels_or_arithmetic_are_other_features():
    net, counted, images = zoo.build("resnet8"), [], split(4)
    reader(net, counted).of(images)
    with torch.no_grad():
        net.head.fc.weight.add_(1)  # not part of the base
    reader(net, counted).of(images)
    assert counted == [4]
    net.stem.bn1.running_mean.add_(1)
    reader(net, counted).of(images)
    reader(net, counted, dtype=torch.bfloat16).of(images)
    assert counted == [4, 4, 4]


def test_a_damaged_file_is_computed_anew(tmp_path):
    net, counted, images = zoo.build("resnet8"), [], split(4)
    first = reader(net, counted).of(images)
    (path,) = tmp_path.rglob("features.safetensors")
    path.write_bytes(path.read_bytes()[:-40])
    assert torch.equal(reader(net, counted).of(images), first)
    assert counted == [4, 4]
    assert torch.equal(reader(net, counted, cache=False).of(images), first)
    assert counted == [4, 4, 4]


def test_a_convolution_as_scorer_gets_maps():
    net = zoo.build("nin")
    assert reader(net).of(split(2)).ndim == 4


def test_every_runtime_says_the_same():
    pytest.importorskip("openvino")
    net = zoo.build("mobilenet_v2", padding="same").eval()
    base, x = base_and_tail(net)[0].eval(), split(5).pixels
    fast = extractor(base, PREPARE.normalise, (3, 32, 32), count=extract.MANY)
    slow = extractor(base, PREPARE.normalise, (3, 32, 32), count=1)
    with torch.no_grad():
        expected = base(PREPARE.normalise(x))
    torch.testing.assert_close(slow(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast(x), expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(fast(x[:2]), fast(x)[:2])


def test_what_was_computed_before_an_interruption_is_kept():
    net, images = zoo.build("resnet8"), split(3 * BATCH)
    broken = reader(net)
    compute = broken._compute

    def two(some, workers):
        yield from islice(compute(some, workers), 2)
        raise KeyboardInterrupt

    broken._compute = two
    with pytest.raises(KeyboardInterrupt):
        broken.of(images)
    counted = []
    again = reader(net, counted).of(images)
    assert counted == [BATCH]
    torch.testing.assert_close(again, reader(net, cache=False).of(images))

"""Augmentation inside the loop: drawn from the seed and the step, for the training split only, labels included."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.data import DataSet, load
from striate.train.engine import Engine
from striate.train.loop import Loop
from striate.train.recipe import Recipe


class Eye(nn.Module):
    """A network that keeps what it is shown while it trains, as bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[torch.Tensor] = []
        self.score = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.shown.append((x.detach() * 255).round().to(torch.uint8).contiguous())
        return self.score(x.flatten(1))


def loop_of(eye: Eye, augment: str, n: int = 40, **settings) -> tuple[Loop, DataSet]:
    x = np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    data = load((x, np.arange(n) % 3), split=(0.8, 0.2, 0.0))
    chosen = {"data": "arrays", "model": "eye", "epochs": 2, "batch_size": 8, "augment": augment, **settings}
    return Loop(Recipe(**chosen), data, Engine(eye, (0.0,), (1.0,), "cpu", "fp32")), data


def shown(augment: str, **settings) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network saw while it trained, and the training images."""
    loop, data = loop_of(Eye(), augment, **settings)
    loop.fit(lambda loop: None)
    return torch.cat(loop.engine.twin.shown), data.train.read(range(len(data.train)))


def as_set(images: torch.Tensor) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in images)


def test_none_shows_every_training_image_once_an_epoch_as_it_is():
    seen, images = shown("none", epochs=1)
    assert as_set(seen) == as_set(images)


def test_alternating_flip_shows_every_image_both_ways_in_two_epochs():
    seen, images = shown("alternating_flip")
    assert as_set(seen) == as_set(torch.cat((images, images.flip(3))))


def test_the_seed_decides():
    text = "random_crop(2), cutmix, random_erasing"
    first, again, other = (shown(text, seed=s, split=(1, 0, 0))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "text", ["mixup(alpha=0.4)", "cutmix", "shift-flip, rand_augment, cutmix, mixup(0.2, p=0.5)"]
)
def test_mixed_images_train_on_shares_of_their_classes(text):
    loop, data = loop_of(Eye(), text)
    loss = loop.validate(data.val)["loss"]
    targets = []
    criterion = loop.criterion
    loop.criterion = lambda scores, y, w=None: targets.append(y) or criterion(scores, y, w)
    loop.fit(lambda loop: None)
    trained = [y for y in targets if y.ndim == 2]
    assert len(trained) == 8  # 2 epochs of 4 batches; the validation split is never mixed
    for y in trained:
        torch.testing.assert_close(y.sum(1), torch.ones(len(y)))
    assert any(((y > 0) & (y < 1)).any() for y in trained)
    assert loss > 0


@pytest.mark.parametrize(
    "augment", ["alternating_flip, cutmix", "random_crop(2), mixup(0.4), random_erasing"]
)
def test_gone_on_with_in_mid_epoch_is_the_same_to_the_bit(augment):
    states = []
    whole, _ = loop_of(Eye(), augment, save_every=1)
    whole.fit(lambda loop: states.append(loop.state_dict()))
    for tensors, facts in states[:-1]:
        rest, _ = loop_of(Eye(), augment)
        rest.load_state_dict(tensors, facts)
        rest.fit(lambda loop: None)
        a, b = whole.state_dict()[0], rest.state_dict()[0]
        assert all(torch.equal(a[name], b[name]) for name in a)

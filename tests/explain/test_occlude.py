"""Occlusion against the double loop that defines it."""

import pytest
import torch

from striate.errors import UsageError
from striate.explain import occlusion


@pytest.mark.parametrize(("patch", "stride", "fill"), [(3, 3, 0.0), (4, 2, 0.5), (1, 1, 0.0), (10, 5, -1.0)])
def test_it_is_a_plain_double_loop(plain, images, patch, stride, fill):
    found = occlusion(plain, images, 2, patch, stride, fill)
    plain.eval()
    h, w = images.shape[2:]
    for image, heat in zip(images, found, strict=True):
        lost, times = torch.zeros(h, w), torch.zeros(h, w)
        with torch.no_grad():
            whole = plain(image[None])[0, 2]
            for top in sorted({*range(0, h - patch + 1, stride), h - patch}):
                for left in sorted({*range(0, w - patch + 1, stride), w - patch}):
                    covered = image.clone()
                    covered[:, top : top + patch, left : left + patch] = fill
                    drop = whole - plain(covered[None])[0, 2]
                    lost[top : top + patch, left : left + patch] += drop
                    times[top : top + patch, left : left + patch] += 1
        torch.testing.assert_close(heat, lost / times)


def test_a_linear_network_loses_what_was_covered(images):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(360, 2))
    expected = (images * net[1].weight[1].view(3, 12, 10)).sum(1)
    torch.testing.assert_close(occlusion(net, images, 1, patch=1, stride=1), expected, rtol=1e-4, atol=1e-6)


def test_a_patch_larger_than_the_image_is_refused(plain, images):
    with pytest.raises(UsageError, match="patch 11, stride 3: expected 1 to 10 px"):
        occlusion(plain, images, patch=11)

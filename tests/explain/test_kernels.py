"""The kernel bank beside OpenCV, to the last bit where kernels are whole numbers."""

import cv2
import numpy as np
import pytest
import torch

from striate.errors import UsageError
from striate.explain import kernels

WHOLE = [name for name, k in kernels.KERNELS.items() if (k == np.round(k)).all()]


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    return kernels.samples()["china"]


def test_the_bank_is_complete():
    assert set(kernels.KERNELS) - set(WHOLE) == {"box blur", "gaussian"}
    for name in (
        "sharpen",
        "laplacian",
        "sobel x",
        "sobel y",
        "scharr x",
        "prewitt y",
        "emboss",
        "vertical lines",
    ):
        assert name in WHOLE


@pytest.mark.parametrize("name", WHOLE)
def test_whole_kernels_equal_opencv_to_the_last_bit(photograph, name):
    ours = kernels.apply(photograph, kernels.kernel(name))
    theirs = [
        cv2.filter2D(plane, cv2.CV_32F, kernels.KERNELS[name], borderType=cv2.BORDER_CONSTANT)
        for plane in photograph.numpy()
    ]
    assert np.array_equal(ours.numpy(), np.stack(theirs))


def test_the_derivatives_are_those_that_opencv_computes_itself(photograph):
    grey = kernels.grey(photograph)
    inside = (slice(1, -1), slice(1, -1))  # OpenCV's borders differ here
    for name, theirs in {
        "sobel x": cv2.Sobel(grey[0].numpy(), cv2.CV_32F, 1, 0),
        "sobel y": cv2.Sobel(grey[0].numpy(), cv2.CV_32F, 0, 1),
        "scharr x": cv2.Scharr(grey[0].numpy(), cv2.CV_32F, 1, 0),
        "laplacian": cv2.Laplacian(grey[0].numpy(), cv2.CV_32F),
        "box blur": cv2.blur(grey[0].numpy().astype(np.float32), (3, 3)),
        "gaussian": cv2.GaussianBlur(grey[0].numpy().astype(np.float32), (3, 3), 0),
    }.items():
        ours = kernels.apply(grey, kernels.kernel(name))[0].numpy()
        np.testing.assert_allclose(ours[inside], theirs[inside], rtol=1e-5, atol=1e-4)


def test_gaussian_smoothing():
    line = cv2.getGaussianKernel(7, 1.5)
    np.testing.assert_allclose(kernels.gaussian(7, 1.5), line @ line.T, rtol=1e-6)
    with pytest.raises(UsageError, match="expected an odd side"):
        kernels.gaussian(4, 1.0)


def test_lines_and_threshold_by_hand():
    image = torch.zeros(1, 9, 9)
    image[0, :, 4] = 1
    assert kernels.apply(image, kernels.kernel("vertical lines"))[0, 4, 4] == 7
    assert kernels.apply(image, kernels.kernel("horizontal lines"))[0, 4, 4] == 1
    assert kernels.threshold(torch.tensor([[0, 127, 128, 255]]), 127).tolist() == [[0, 0, 255, 255]]


def test_grey_is_opencvs(photograph):
    theirs = cv2.cvtColor(photograph.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
    assert np.abs(kernels.grey(photograph)[0].numpy().astype(int) - theirs).max() <= 1


def test_the_sheet_shows_both(photograph):
    grey = kernels.grey(photograph)[:, ::4, ::4]
    page = kernels.kernel_sheet(grey, ("sobel x", "box blur"), cell=64)
    assert page.width == 6 * 74 + 10
    with pytest.raises(UsageError, match="expected a grey image"):
        kernels.kernel_sheet(photograph)


@pytest.mark.parametrize(
    "given", ["my.jpg", np.zeros((4, 4, 3), np.uint8), torch.zeros(3, 4, 4), torch.zeros(4, 4)]
)
def test_what_is_no_picture_of_pixels(given):
    with pytest.raises(UsageError, match="expected pixels, uint8") as caught:
        kernels.grey(given)
    assert "-m kernels" in caught.value.hint


def test_grey_stays_grey(photograph):
    grey = kernels.grey(photograph)
    assert torch.equal(kernels.grey(grey), grey)


def test_an_unknown_kernel():
    with pytest.raises(UsageError, match="unknown kernel 'sobelx'") as caught:
        kernels.kernel("sobelx")
    assert "sobel x" in caught.value.hint

"""An encoded image to upright 8-bit pixels of the channels asked for.

OpenCV decodes what it decodes right (JPEG, plain PNG); Pillow the rest (alpha, CMYK, WebP, GIF, TIFF, BMP,
EXIF in PNG). Transparent pixels are laid over white; 16-bit values are scaled to 8; of an animation the first
frame is taken; colour profiles are ignored.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.header import Header, complete, header, opened
from striate.data.source import Pixels
from striate.errors import DataError


def decode(data: bytes, channels: int = 3, at_least: tuple[int, int] | None = None) -> Pixels:
    """Encoded bytes -> uint8 (h, w, channels), upright.

    A JPEG comes at 1/2, 1/4 or 1/8 of its size where both sides stay over the longer of `at_least` (h, w).
    """
    head = header(data)
    complete(data, head)
    pixels = _opencv(data, head, channels, at_least) if head.simple else _pillow(data, head, channels)
    return pixels.reshape(*pixels.shape[:2], channels)


def _opencv(data: bytes, head: Header, channels: int, at_least: tuple[int, int] | None) -> Pixels:
    import cv2

    flag = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    if head.format == "JPEG" and at_least and (by := _shrink(head, max(at_least))) > 1:
        colour = {
            2: cv2.IMREAD_REDUCED_COLOR_2,
            4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8,
        }[by]
        flag = colour if channels == 3 else colour - 1  # OpenCV numbers the grey one just below
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
        if pixels is not None and channels == 3:
            cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    else:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if pixels is None:
        raise DataError(f"broken {head.format}: its pixels can't be decoded")
    return np.asarray(pixels, np.uint8)


def _shrink(head: Header, side: int) -> int:
    """The largest of 8, 4, 2 by which libjpeg can scale while both sides stay >= `side`; else 1."""
    return next((by for by in (8, 4, 2) if min(head.width, head.height) // by >= side), 1)


def _pillow(data: bytes, head: Header, channels: int) -> Pixels:
    from PIL import Image, ImageOps

    try:
        with opened(data, head.format) as image:
            image.load()
            try:
                upright = ImageOps.exif_transpose(image)
            except Exception:  # broken EXIF says nothing about the pixels
                upright = image
            if head.format == "PPM" and upright.mode == "I":  # of more than 8 bits; Pillow makes 16 of them
                upright = Image.fromarray(np.asarray(upright).astype(np.uint16))
            return _mode(upright, channels)
    except DataError:
        raise
    except Exception as e:  # Pillow raises many kinds; all mean that this file can't be decoded
        raise DataError(f"broken {head.format}: {e}") from e


def _mode(image: Any, channels: int) -> Pixels:
    from PIL import Image

    if image.mode.startswith("I;16"):  # all on one scale, however dark
        image = Image.fromarray(_of_16_bits(np.asarray(image)))
    if image.mode in ("I", "F"):
        image = Image.fromarray(to_uint8(np.asarray(image), "image"))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB" if channels == 3 else "L"))


def to_uint8(array: npt.NDArray[Any], what: str) -> Pixels:
    """0..255 stays, floats within 0..1 times 255, integers beyond 255 (16-bit) over 257; else DataError."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{what}: pixels of type {array.dtype}; numbers are expected")
    if array.size == 0:
        return array.astype(np.uint8)
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{what}: holds NaN or infinite values")
    if low < 0 or high > (65535 if array.dtype.kind in "iu" else 255):
        raise DataError(
            f"{what}: values {low:g}..{high:g}; expected 0..255, or 0..1 as floats, or 16-bit integers"
        )
    if array.dtype.kind == "f" and high <= 1:
        return np.rint(array * np.float32(255)).astype(np.uint8)
    if high > 255:
        return _of_16_bits(array)
    return np.rint(array).astype(np.uint8)


def _of_16_bits(array: npt.NDArray[Any]) -> Pixels:
    """0..65535 -> 0..255"""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)

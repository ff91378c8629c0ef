"""An encoded image to upright 8-bit pixels of the channels asked for.

OpenCV decodes what it decodes right (JPEG, plain PNG, colour of 16 bits); Pillow the rest (alpha, CMYK, WebP, GIF,
TIFF, BMP). Transparent pixels are laid over white; numbers of more than 8 bits become 8 by `scale`; of an animation the
first frame is taken; colour profiles are ignored, and grey is BT.601 of the stored colours.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from striate.data.header import Header, chunks, complete, header, opened, segments
from striate.data.scale import UNKNOWN, Numbers, White, to_uint8
from striate.data.source import Pixels
from striate.errors import DataError

BAND = 1 << 22  # pixels
ORIENTATION = 0x0112  # of EXIF 2.3, 4.6.4
PHOTOMETRIC, MIN_IS_WHITE = 262, 0  # tags of a TIFF, and values of theirs that change what a number means
EXTRA, PREMULTIPLIED = 338, 1


def decode(
    data: bytes, channels: int = 3, at_least: tuple[int, int] | None = None, white: White = UNKNOWN
) -> Pixels:
    """Encoded bytes -> uint8 (h, w, channels), upright.

    A JPEG comes at 1/2, 1/4 or 1/8 of its size where both sides stay over the longer of `at_least` (h, w). `white` is
    the scale of images of more than 8 bits, where the data have one.
    """
    head = header(data)
    complete(data, head)
    if head.deep:
        values = np.ascontiguousarray(to_uint8(deep(data, head), "image", white))
        return _of_pillow(Image.fromarray(values), channels)
    pixels = _opencv(data, head, channels, at_least) if head.simple else _pillow(data, head, channels)
    return pixels.reshape(*pixels.shape[:2], channels)


def deep(data: bytes, head: Header) -> Numbers:
    """The numbers of an image of more than 8 bits, upright.    (h, w), (h, w, 3) or (h, w, 4)

    They are 8 bits of each where the colours of a TIFF aren't RGB: CMYK, Lab, or multiplied by their alpha.
    """
    if head.format == "PNG":
        return _turned(_with_key(_unchanged(data, head), data), orientation(data, head))
    with _opened(data, head) as image:
        if _is_deep(image):
            return _wide(image)
        if image.mode not in ("RGB", "RGBA") or image.tag_v2.get(EXTRA) == (PREMULTIPLIED,):
            return _of_pillow(image, 3)
        bands = len(image.getbands())
    return _unchanged(data, head)[..., :bands]  # Pillow cuts colours to 8 bits; OpenCV turns a TIFF itself


def _wide(image: Any) -> Numbers:
    """The numbers of a grey image of more than 8 bits that Pillow opened, upright."""
    values = _of_16_bits(np.asarray(image))
    if image.mode.startswith("I;16") and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == MIN_IS_WHITE:
        values = 65535 - values  # Pillow inverts those of 8 bits alone
    return _turned(values, _orientation(image))


def _of_16_bits(values: Numbers) -> Numbers:
    """Integers of any width as 16 bits; DataError where they need more. Floats stay."""
    if values.dtype.kind == "f":
        return values
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise DataError(f"image: values {low}..{high}; expected 0..65535")
    return values.astype(np.uint16)


def _unchanged(data: bytes, head: Header) -> Numbers:
    import cv2

    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise _broken(head)
    if values.ndim == 2:
        return np.asarray(values)
    to_rgb = cv2.COLOR_BGRA2RGBA if values.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(values, to_rgb))


def _with_key(values: Numbers, data: bytes) -> Numbers:
    """The one grey that a PNG calls transparent becomes an alpha channel, as OpenCV does it for a colour alone."""
    at = next((at for kind, at in chunks(data) if kind == b"tRNS"), None)
    if values.ndim > 2 or at is None:
        return values
    alpha = np.where(values == int.from_bytes(data[at + 8 : at + 10]), 0, 65535).astype(np.uint16)
    return np.stack((values, values, values, alpha), axis=-1)


def _turned(values: Numbers, orientation: int) -> Numbers:
    """Upright, of an image that is stored in one of the eight orientations of EXIF."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def orientation(data: bytes, head: Header) -> int:
    """The EXIF orientation, 1 to 8; 0 where there is none or it can't be read."""
    if head.exif:
        with suppress(DataError), _opened(data, head) as image:
            if head.format == "PNG":
                image.load()  # EXIF may follow the pixels
            return _orientation(image)
    return 0


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 0))
    except Exception:  # broken EXIF says nothing about the pixels, and Pillow raises many kinds
        return 0


@contextmanager
def _opened(data: bytes, head: Header) -> Iterator[Any]:
    """The image as Pillow sees it; DataError where it can't be decoded."""
    try:
        with opened(data, head.format) as image:
            yield image
    except DataError:
        raise
    except Exception as e:  # Pillow raises many kinds; all mean that this file can't be decoded
        raise DataError(f"broken {head.format}: {e}") from e


def _opencv(data: bytes, head: Header, channels: int, at_least: tuple[int, int] | None) -> Pixels:
    import cv2

    by = _shrink(head, max(at_least)) if head.format == "JPEG" and at_least else 1
    # libpng's grey weighs linear light where a chunk tells a gamma
    luma = channels == 1 and head.format == "JPEG"
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), (GREY if luma else COLOUR)[by])
    if pixels is None:
        raise _broken(head)
    if channels == 1 and not luma:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    elif channels == 3 and by > 1:
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    return np.asarray(pixels, np.uint8)


COLOUR = {1: 256, 2: 17, 4: 33, 8: 65}  # OpenCV's IMREAD_COLOR_RGB, but IMREAD_REDUCED_COLOR_2, _4, _8 in BGR
GREY = {1: 0, 2: 16, 4: 32, 8: 64}


def _shrink(head: Header, side: int) -> int:
    """The largest of 8, 4, 2 by which libjpeg can scale while both sides stay >= `side`; else 1."""
    return next((by for by in (8, 4, 2) if min(head.width, head.height) // by >= side), 1)


def _broken(head: Header) -> DataError:
    return DataError(f"broken {head.format}: its pixels can't be decoded")


def _pillow(data: bytes, head: Header, channels: int) -> Pixels:
    with _opened(data, head) as image:
        image.load()
        key = image.info.get("transparency")
        if head.format == "PNG" and image.mode in ("1", "L") and isinstance(key, int):
            bits = data[24]  # of the key; the pixels have eight by now
            image.info["transparency"] = key * 255 // ((1 << bits) - 1)
        return _of_pillow(image, channels)


def verify(data: bytes, head: Header) -> None:
    """DataError for a JPEG that is damaged in the middle: decoders go on after it with a guess, and don't say so."""
    if head.format != "JPEG":
        return
    import simplejpeg

    opening = b"".join(data[first:end] for _, first, end in segments(data) if first < head.body)
    clean = data[:2] + opening + data[head.body :]  # stray bytes between the segments harm no pixel
    try:
        simplejpeg.decode_jpeg(clean, "GRAY")
    except ValueError as warning:
        try:
            simplejpeg.decode_jpeg(clean, "GRAY", strict=False)
        except ValueError:  # of a kind that it doesn't decode at all
            return
        raise DataError(f"the JPEG is damaged: {warning}") from warning


def numbers(image: Image.Image) -> Numbers:
    """An image that Pillow holds, as a file of it would be read, before its scale is settled.

    -> (h, w) of more than 8 bits, or uint8 (h, w, 1 or 3)
    """
    if 0 in image.size:
        raise DataError("an image without pixels: nothing to see")
    try:
        if _is_deep(image):
            return _wide(image)
        return _of_pillow(image, 1 if image.mode in ("1", "L", "LA", "La") else 3)
    except (ValueError, OSError) as e:  # no way from its mode to RGB; or read only now, and broken
        raise DataError(f"an image of mode {image.mode}: {e}") from e


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _of_pillow(image: Image.Image, channels: int) -> Pixels:
    """An image of at most 8 bits a channel -> uint8 (h, w, channels), upright and over white."""
    with suppress(Exception):  # broken EXIF says nothing about the pixels
        image = ImageOps.exif_transpose(image)
    w, h = image.size
    out = np.empty((h, w, channels), np.uint8)
    rows = max(1, BAND // w)  # at a time, as each change of mode is a copy
    for top in range(0, h, rows):
        band = image if rows >= h else image.crop((0, top, w, min(h, top + rows)))
        if band.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in band.info:
            band = band.convert("RGBA")
            white = Image.new("RGBA", band.size, (255, 255, 255, 255))
            band = Image.alpha_composite(white, band)
        if channels == 3 or band.mode not in ("1", "L"):
            band = band.convert("RGB")  # there is no straight way from every mode to grey
        pixels = np.asarray(band if channels == 3 else band.convert("L"))
        out[top : top + rows] = pixels.reshape(*pixels.shape[:2], channels)
    return out

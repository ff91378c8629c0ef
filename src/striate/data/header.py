"""What an image file says about itself: format, size, channels; no pixel is allocated.

The format is decided by the bytes, never by the name, and from a short list: what is not on it is refused
before any decoder sees it.
"""

import io
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from striate.data.kinds import CONVERT, FETCH, HEAD, READ, kind
from striate.errors import DataError

MAX_PIXELS = (
    89_478_485  # Pillow's own line for a suspected decompression bomb; it only warns there, we refuse
)

ACCEPTED = "accepted are JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, AVIF, HEIC"
FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15 without DHT, JPG, DAC
STANDALONE = {0x01, *range(0xD0, 0xD8)}  # TEM, RST0..RST7: markers that carry no length


@dataclass(frozen=True, slots=True)
class Header:
    """`channels`: 1 grey or 3 colour; `simple`: OpenCV gives the right pixels, of all kinds of the format."""

    format: str
    width: int
    height: int
    channels: int
    simple: bool
    body: int = 0  # where the compressed pixels begin


def sniff(data: bytes) -> str:
    """The format that the first bytes name; DataError for one that isn't read."""
    found = kind(data[:HEAD])
    if found in READ:
        return found
    if found == "empty":
        raise DataError("the file is empty")
    if found in ("unknown", "text"):
        raise DataError("no image of a known format", ACCEPTED)
    article, noun = ("an", "text") if found.startswith("HTML") else ("a", "file")
    way_out = f"; {known[found]}" if found in (known := CONVERT | FETCH) else ""
    raise DataError(f"this is {article} {found} {noun}, not an image of a known format{way_out}", ACCEPTED)


def header(data: bytes) -> Header:
    """Header of an encoded image; DataError where it's malformed, empty, or over the limit of pixels."""
    kind = sniff(data)
    found = {"JPEG": _jpeg, "PNG": _png}.get(kind, _other)(data, kind)
    if found.width < 1 or found.height < 1:
        raise DataError(f"{kind} of {found.width}x{found.height} pixels: nothing to see")
    if found.width * found.height > MAX_PIXELS:
        raise DataError(
            f"{kind} of {found.width}x{found.height} pixels: over the limit of {MAX_PIXELS:,} "
            "(a decompression bomb, or a picture to make smaller first)"
        )
    return found


def complete(data: bytes, head: Header) -> None:
    """DataError where the compressed pixels stop before their end marker: decoders fill up with grey."""
    if head.format == "JPEG" and data.rfind(b"\xff\xd9", head.body) < 0:
        raise DataError("the JPEG is cut short: no end marker")
    if head.format == "WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise DataError("the WebP is cut short: it states a greater length")
    if head.format == "PNG":
        _png_chunks(data, head.body)
    if head.format in ("AVIF", "HEIC"):
        _boxes(data, head.format)


def _jpeg(data: bytes, kind: str) -> Header:
    pos, size = 2, None
    while pos + 4 <= len(data):
        if data[pos] != 0xFF:
            raise DataError(f"broken JPEG: no marker at byte {pos}")
        marker = data[pos + 1]
        if marker == 0xFF:  # fill byte
            pos += 1
            continue
        if marker in STANDALONE:
            pos += 2
            continue
        if marker == 0xD9:
            raise DataError("broken JPEG: it ends before its pixels begin")
        if marker == 0xDA:
            if size is None:
                raise DataError("broken JPEG: pixels before a frame header")
            height, width, parts = size
            return Header(kind, width, height, 1 if parts == 1 else 3, parts in (1, 3), pos)
        if marker in FRAME_HEADERS and pos + 10 <= len(data):
            size = (
                int.from_bytes(data[pos + 5 : pos + 7]),
                int.from_bytes(data[pos + 7 : pos + 9]),
                data[pos + 9],
            )
        pos += 2 + int.from_bytes(data[pos + 2 : pos + 4])
    raise DataError("the JPEG is cut short: it ends inside its header")


def _png(data: bytes, kind: str) -> Header:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise DataError("the PNG is cut short: it ends inside its header")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    colour = data[25]
    if colour not in (0, 2, 3, 4, 6):
        raise DataError(f"broken PNG: colour type {colour}")
    pos, simple = 33, colour < 4  # 4 and 6 have alpha
    while pos + 8 <= len(data):
        chunk = data[pos + 4 : pos + 8]
        if chunk == b"IDAT":
            return Header(kind, width, height, 1 if colour in (0, 4) else 3, simple, pos)
        simple = simple and chunk not in (b"tRNS", b"eXIf", b"acTL")
        pos += 12 + int.from_bytes(data[pos : pos + 4])
    raise DataError("the PNG is cut short: it ends inside its header")


def _png_chunks(data: bytes, pos: int) -> None:
    """Every chunk from the first of pixels on is whole and has the checksum it states."""
    while pos + 12 <= len(data):
        end = pos + 8 + int.from_bytes(data[pos : pos + 4])
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[pos + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise DataError(f"broken PNG: wrong checksum of the chunk at byte {pos}")
        if data[pos + 4 : pos + 8] == b"IEND":
            return
        pos = end + 4
    raise DataError("the PNG is cut short: no IEND chunk")


def _boxes(data: bytes, kind: str) -> None:
    """Every box is whole (ISO/IEC 14496-12, 4.2); one of length 0 reaches to the end."""
    pos = 0
    while pos + 8 <= len(data):
        size = int.from_bytes(data[pos : pos + 4])
        size = int.from_bytes(data[pos + 8 : pos + 16]) if size == 1 else size or len(data) - pos
        pos += max(size, 8)
    if pos > len(data):
        raise DataError(f"the {kind} is cut short: it states a greater length")


def _other(data: bytes, kind: str) -> Header:
    """The formats that Pillow opens: it reads the header only, until pixels are asked for."""
    from PIL import UnidentifiedImageError

    try:
        with opened(data, kind) as image:
            width, height = image.size
            grey = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
            preview = kind == "TIFF" and _is_preview(image.tag_v2)
    except DataError:
        raise
    except UnidentifiedImageError as e:
        raise DataError(f"broken {kind}: its header can't be read") from e
    except Exception as e:  # Pillow raises many kinds; all mean that the header is no good
        raise DataError(f"broken {kind}: {e}") from e
    if preview:
        raise DataError(f"this is a camera raw file, not an image of a known format; {CONVERT['camera raw']}")
    return Header(kind, width, height, 1 if grey else 3, False)


def _is_preview(tags: Any) -> bool:
    """Cameras write raw files as TIFF: a DNG version, or a thumbnail as the first picture (TIFF 6.0, tag 254)."""
    kind = tags.get(254, 0)
    return 50706 in tags or (isinstance(kind, int) and bool(kind & 1))


def opened(data: bytes, kind: str) -> Any:
    """A Pillow image of a format that `sniff` has found, its pixels not yet decoded."""
    from PIL import Image

    if kind == "HEIC":
        if find_spec("pillow_heif") is None:
            raise DataError("this is a HEIC file; to read it: pip install 'striate[heic]'")
        import pillow_heif

        pillow_heif.register_heif_opener()
    return Image.open(io.BytesIO(data), formats=["HEIF" if kind == "HEIC" else kind])

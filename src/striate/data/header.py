"""What an image file says about itself: format, size, channels; no pixel is allocated.

The format is decided by the bytes, never by the name, and from a short list: what is not on it is refused
before any decoder sees it.
"""

import io
import re
import zlib
from collections.abc import Iterator
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
PLANES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # numbers a pixel by the colour type of a PNG
TEXT = (b"tEXt", b"zTXt", b"iTXt")  # chunks of a PNG
TURNING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # their keywords that may tell an orientation
BITS, COMPRESSION = 258, 259  # tags of a TIFF
DEFLATE, LZW = 1032, 2731  # bytes that one byte can stand for: 258 in two bits, 4096 in twelve
PACKED = {5: LZW, 8: DEFLATE, 32946: DEFLATE, 32773: 64, 7: 1536}  # by the compression of a TIFF; 7 is JPEG
FAX = (2, 3, 4)  # compressions of a TIFF in which a row takes a bit at least
# of a JPEG, that carries a length: not TEM, not RST0..RST7
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


@dataclass(frozen=True, slots=True)
class Header:
    """`channels`: 1 grey or 3 colour; `simple`: OpenCV gives the right pixels, of all kinds of the format.

    `deep`: more than 8 bits a channel; `exif`: an orientation may be told; `densest`: pixels that a byte of such a file
    can hold at most.
    """

    format: str
    width: int
    height: int
    channels: int
    simple: bool
    body: int = 0  # where the compressed pixels begin
    deep: bool = False
    exif: bool = True
    densest: int = MAX_PIXELS


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
    """DataError where the compressed pixels stop before their end: decoders fill up with grey, at any size."""
    if head.width * head.height > head.densest * len(data):
        what = f"{head.format} of {head.width}x{head.height} pixels in {len(data):,} bytes"
        raise DataError(f"{what}: cut short, for so few can't hold so many")
    if head.format == "JPEG" and data.rfind(b"\xff\xd9", head.body) < 0:
        raise DataError("the JPEG is cut short: no end marker")
    if head.format == "WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise DataError("the WebP is cut short: it states a greater length")
    if head.format == "PNG":
        _png_chunks(data, head.body)
    if head.format in ("AVIF", "HEIC"):
        _boxes(data, head.format)


def _jpeg(data: bytes, kind: str) -> Header:
    size, densest = None, MAX_PIXELS
    for marker, pos, _ in segments(data):
        if marker == 0xD9:
            raise DataError("broken JPEG: it ends before its pixels begin")
        if marker == 0xDA:
            if size is None:
                raise DataError("broken JPEG: pixels before a frame header")
            height, width, parts = size
            return Header(
                kind, width, height, 1 if parts == 1 else 3, parts in (1, 3), pos,
                exif=b"Exif\0\0" in data[:pos], densest=densest,
            )  # fmt: skip
        if marker in FRAME_HEADERS and pos + 10 <= len(data):
            height, width = int.from_bytes(data[pos + 5 : pos + 7]), int.from_bytes(data[pos + 7 : pos + 9])
            size = height, width, data[pos + 9]
            if marker in (0xC0, 0xC1, 0xC2):
                densest = 512  # a block of 64 takes a bit at least in Huffman's codes
    raise DataError("the JPEG is cut short: it ends inside its header")


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first byte and end of each segment of a JPEG, to the one that opens its pixels; strays are skipped."""
    pos = 2
    while (found := MARKER.search(data, pos)) and found.start() <= len(data) - 4:
        first = found.start()
        marker, pos = data[first + 1], first + 2 + int.from_bytes(data[first + 2 : first + 4])
        yield marker, first, pos
        if marker in (0xD9, 0xDA):
            return


def _png(data: bytes, kind: str) -> Header:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise DataError("the PNG is cut short: it ends inside its header")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    depth, colour = data[24], data[25]
    if colour not in PLANES or depth not in (1, 2, 4, 8, 16):
        raise DataError(f"broken PNG: colour type {colour} of {depth} bits")
    simple, exif, body = colour < 4, False, 0  # 4 and 6 have alpha
    for chunk, pos in chunks(data):
        if chunk == b"IDAT":
            body = body or pos
        exif = exif or chunk == b"eXIf" or (chunk in TEXT and data.startswith(TURNING, pos + 8))
        simple = simple and chunk not in (b"tRNS", b"acTL")
    if not body:
        raise DataError("the PNG is cut short: it ends inside its header")
    channels, bits = 1 if colour in (0, 4) else 3, depth * PLANES[colour]
    simple = simple and not exif
    return Header(kind, width, height, channels, simple, body, depth == 16, exif, 8 * DEFLATE // bits)


def chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Type and first byte of each chunk of a PNG."""
    pos = 8
    while pos + 8 <= len(data):
        yield (kind := data[pos + 4 : pos + 8]), pos
        if kind == b"IEND":
            return
        pos += 12 + int.from_bytes(data[pos : pos + 4])


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
    from PIL.TiffImagePlugin import TiffImageFile

    densest = {"GIF": LZW, "BMP": 128}.get(kind, MAX_PIXELS)
    try:
        with opened(data, kind) as image:
            width, height = image.size
            grey = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
            preview = kind == "TIFF" and _is_preview(image.tag_v2)
            deep = kind == "PPM" and image.mode == "I"
            if isinstance(image, TiffImageFile):
                bits, packing = image.tag_v2.get(BITS, (1,)), image.tag_v2.get(COMPRESSION, 1)
                deep = max(bits) > 8
                densest = 8 * PACKED.get(packing, MAX_PIXELS) // sum(bits)
                densest = 8 * min(width, 1 << 14) if packing in FAX else max(1, densest)
    except DataError:
        raise
    except UnidentifiedImageError as e:
        raise DataError(f"broken {kind}: its header can't be read") from e
    except Exception as e:  # Pillow raises many kinds; all mean that the header is no good
        raise DataError(f"broken {kind}: {e}") from e
    if preview:
        raise DataError(f"this is a camera raw file, not an image of a known format; {CONVERT['camera raw']}")
    return Header(kind, width, height, 1 if grey else 3, False, deep=deep, densest=densest)


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

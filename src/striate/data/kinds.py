"""What a file is, by its first bytes, whatever it is called."""

import codecs
import re

HEAD = 512  # bytes that are enough to tell
READ = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "HEIC")
CONVERT = {  # pictures that aren't read, and the way out
    "JPEG XL": "convert it first: djxl a.jxl a.png",
    "JPEG 2000": "convert it first, to PNG or TIFF",
    "DICOM": "convert it first, to 16-bit PNG: dcmtk's `dcm2img`, or pydicom",
    "camera raw": "develop it first: darktable-cli or `dcraw -T`, or take the camera's JPEG",
}
FETCH = {  # what stands in the place of any file
    "Git LFS pointer": "the picture itself isn't here: `git lfs pull`",
    "git-annex pointer": "the picture itself isn't here: `git annex get .`",
}
MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
    (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"FUJIFILMCCD-RAW", "camera raw"), (b"IIRO\x08", "camera raw"), (b"IIRS\x08", "camera raw"),
    (b"MMOR\0", "camera raw"), (b"IIU\0", "camera raw"), (b"FOVb", "camera raw"), (b"\0MRM", "camera raw"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    (b"version https://git-lfs.github.com/spec/", "Git LFS pointer"), (b"/annex/objects/", "git-annex pointer"),
    (b"%PDF", "PDF"), (b"%!PS", "PostScript"), (b"\xc5\xd0\xd3\xc6", "EPS"), (b"SIMPLE", "FITS"),
    (b"8BPS", "PSD"), (b"\xd7\xcd\xc6\x9a", "WMF"), (b"PK\3\4", "ZIP"), (b"PK\5\6", "ZIP"), (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!", "RAR"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"),
    (b"\x93NUMPY", "NumPy"), (b"\x89HDF", "HDF5"), (b"\0\0\1\0", "ICO"), (b"SQLite format 3", "SQLite"),
    (b"\x1aE\xdf\xa3", "video"), (b"\0\0\1\xba", "video"), (b"\0\0\1\xb3", "video"),
)  # fmt: skip
GAP = rb"\s+(?:#[^\n]*\n\s*)*"
PORTABLE = re.compile(rb"P[1-6]" + 2 * (GAP + rb"\d+") + rb"\s")
DIB = (12, 16, 40, 52, 56, 64, 108, 124)  # lengths that the header of a BMP may state
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def kind(head: bytes) -> str:
    """The format, or the kind of thing, that begins with these bytes; `unknown` where nothing says."""
    if not head:
        return "empty"
    if head[4:8] == b"ftyp":
        return _of_boxes(head)
    if head[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": "video", b"WAVE": "sound"}.get(head[8:12], "unknown")
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in DIB:
        return "BMP"
    if PORTABLE.match(head):
        return "PPM"
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return "camera raw"
    found = next((name for magic, name in MAGIC if head.startswith(magic)), "")
    return found or _text(head)


def is_picture(kind: str) -> bool:
    """Whether the bytes are those of an image, readable here or not."""
    return kind in READ or kind in CONVERT


def _of_boxes(head: bytes) -> str:
    """Of ISO base media files, by their brands (ISO/IEC 14496-12, 4.3)."""
    size = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, size - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if head[8:12] == b"crx ":
        return "camera raw"
    return "HEIC" if brands & HEIC else "video"


def _text(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head[:HEAD])
    except UnicodeDecodeError:
        return "unknown"
    if any(c < " " and not c.isspace() and c != "\x1b" for c in text):
        return "unknown"
    return "HTML, XML or SVG" if text.lstrip().startswith("<") else "text"

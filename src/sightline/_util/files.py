"""Files written whole, images encoded, and the errors of damaged files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

# Collected by cutting and flipping bytes of real images and maps.
DECODE_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    SyntaxError,
    struct.error,
    zlib.error,
)
"""What Pillow, pydicom, their codecs and the libraries of map formats raise on damaged bytes."""


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file at once: it holds the old text or the new, never half."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def encode_png(pixels: Any, compress_level: int = 3) -> bytes:
    """Encode pixels, uint8 or uint16 (H, W) or uint8 (H, W, 3) in the order red, green, blue, as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=compress_level)
    return file.getvalue()

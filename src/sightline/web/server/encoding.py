"""Encodings of images and arrays for a browser. Images carry pixels only, without metadata of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image

from sightline._util.files import encode_png
from sightline.core import Array, SaliencyMap

_GRAY_TOLERANCE = 1e-5
"""Greatest distance of a gray value from a multiple of 1 / 255 at which it counts as that multiple."""


def encode_image(image: Array, max_side: int = 0) -> bytes:
    """Encode an image as a PNG whose gray value is 256 × red + green, from 0 to 65535.

    The canvas of a browser has eight bits per channel, so that a 16-bit PNG would lose the depth that window and level
    need. The high byte is in red and the low byte in green. An image of eight bits becomes a gray PNG, in which red
    equals green, so that the same sum gives 257 times its gray value.

    Parameters
    ----------
    image : (H, W) float32 in [0, 1]
        Image; NaN counts as 0.
    max_side : int, default 0
        Longer side to which a larger image is reduced by area; 0 keeps every pixel.

    Returns
    -------
    bytes
        PNG file.
    """
    image = np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0, 1)
    if 0 < max_side < max(image.shape):
        image = _shrink(image, max_side)
    else:
        levels = image * 255
        if np.abs(levels - np.rint(levels)).max(initial=0) <= 255 * _GRAY_TOLERANCE:
            return encode_png(np.rint(levels).astype(np.uint8))
    gray = np.rint(image * 65535).astype(np.uint16)
    return encode_png(np.stack([gray >> 8, gray & 255, np.zeros_like(gray)], -1).astype(np.uint8))


def encode_thumbnail(image: Array, max_side: int = 192) -> bytes:
    """Encode an image as a small gray JPEG of eight bits.

    Parameters
    ----------
    image : (H, W) float32 in [0, 1]
        Image; NaN counts as 0.
    max_side : int, default 192
        Longer side to which a larger image is reduced.

    Returns
    -------
    bytes
        JPEG file.
    """
    image = np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0, 1)
    if max_side < max(image.shape):
        image = _shrink(image, max_side)
    out = BytesIO()
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(out, "JPEG", quality=80)
    return out.getvalue()


def _shrink(image: Array, max_side: int) -> Array:
    scale = max_side / max(image.shape)
    height, width = (max(1, round(side * scale)) for side in image.shape)
    resized: Array = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def encode_bundle(fields: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Encode JSON fields and arrays as one block, which `bundle.js` reads in the browser without a copy.

    The block holds the length of the header as uint32; the header, JSON {"fields": ..., "arrays": {name: {"dtype",
    "shape", "start"}}}, padded with blanks; and the arrays, each starting at a multiple of eight bytes. All numbers are
    little-endian.

    Parameters
    ----------
    fields : mapping of str to object
        Fields that JSON can hold; NaN is not allowed.
    arrays : mapping of str to array
        Arrays of any shape, of the types float32, float64, int8 to int32, or uint8 to uint32.

    Returns
    -------
    bytes
    """
    parts, start, entries = [], 0, {}
    for name, array in arrays.items():
        contiguous = np.ascontiguousarray(array)
        data = contiguous.astype(contiguous.dtype.newbyteorder("<"), copy=False).tobytes()
        entries[name] = {"dtype": contiguous.dtype.name, "shape": list(contiguous.shape), "start": start}
        parts += [data, bytes(-len(data) % 8)]
        start += len(data) + -len(data) % 8
    header = json.dumps({"fields": fields, "arrays": entries}, separators=(",", ":"), allow_nan=False).encode()
    header += b" " * (-(len(header) + 4) % 8)
    return b"".join([len(header).to_bytes(4, "little"), header, *parts])


def decode_bundle(bundle: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Decode a block of `encode_bundle`.

    Parameters
    ----------
    bundle : bytes
        Block.

    Returns
    -------
    tuple of (dict, dict of str to array)
        Fields, and arrays by name.

    Examples
    --------
    >>> fields, arrays = decode_bundle(encode_bundle({"a": 1}, {"x": np.arange(3, dtype=np.int32)}))
    >>> fields, arrays["x"].tolist()
    ({'a': 1}, [0, 1, 2])
    """
    length = int.from_bytes(bundle[:4], "little")
    header = json.loads(bundle[4 : 4 + length])
    arrays = {}
    for name, entry in header["arrays"].items():
        dtype, shape = np.dtype(entry["dtype"]).newbyteorder("<"), entry["shape"]
        arrays[name] = np.frombuffer(bundle, dtype, int(np.prod(shape)), 4 + length + entry["start"]).reshape(shape)
    return header["fields"], arrays


def map_fields(m: SaliencyMap) -> dict[str, Any]:
    """Return the fields of a map that a browser needs in addition to its values.

    Parameters
    ----------
    m : SaliencyMap
        Map.

    Returns
    -------
    dict
        Finding, source, kind, size and box of the frame, status with its reason, and probability (None if unknown).
    """
    probability = None if np.isnan(m.probability) else m.probability
    return {
        "finding": m.finding,
        "source": m.source,
        "size": m.frame.size,
        "box": m.frame.box,
        "kind": m.kind,
        "status": m.status,
        "reason": m.reason,
        "probability": probability,
    }

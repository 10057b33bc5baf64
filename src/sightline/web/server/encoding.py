"""Radiographs and arrays as bytes for a browser. Pixels only: nothing that a file said of the patient goes along."""

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

_GRAY_TOLERANCE = 1e-4
"""How far from a multiple of 1 / 255 a gray may lie and still be one."""


def encode_image(image: Array, max_side: int = 0) -> bytes:
    """A radiograph, float32 (H, W) in [0, 1], as PNG whose gray is 256 × red + green, 0 to 65535.

    A browser's canvas holds eight bits a channel, so a 16-bit PNG would lose what window and level are for. Sixteen
    bits lie in red (high) and green (low); where eight bits are all there is the PNG is gray, red equals green, and
    the same sum gives 257 times the gray: one rule reads both.

    longest: the longer side is reduced to it, by area; 0 keeps every pixel.
    """
    image = np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0, 1)
    if 0 < max_side < max(image.shape):
        image = _shrink(image, max_side)
    else:
        eighths = image * 255
        if np.abs(eighths - np.rint(eighths)).max(initial=0) <= 255 * _GRAY_TOLERANCE / 10:
            return encode_png(np.rint(eighths).astype(np.uint8))
    whole = np.rint(image * 65535).astype(np.uint16)
    return encode_png(np.stack([whole >> 8, whole & 255, np.zeros_like(whole)], -1).astype(np.uint8))


def encode_thumbnail(image: Array, max_side: int = 192) -> bytes:
    """A radiograph as an eight-bit gray JPEG, the longer side `longest` at most."""
    image = np.clip(np.nan_to_num(np.asarray(image, np.float32)), 0, 1)
    if max_side < max(image.shape):
        image = _shrink(image, max_side)
    out = BytesIO()
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(out, "JPEG", quality=80)
    return out.getvalue()


def _shrink(image: Array, max_side: int) -> Array:
    scale = max_side / max(image.shape)
    height, width = (max(1, round(side * scale)) for side in image.shape)
    made: Array = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return made


def encode_bundle(fields: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Facts and arrays as one block, read in the browser by `bundle.js` without a copy.

    uint32 length of the header; the header, JSON {"facts": ..., "arrays": {name: {"dtype", "shape", "start"}}}, padded
    with blanks; the arrays one after the other, each begun at a multiple of eight bytes from the start of the block.
    All little-endian; dtypes are those that typed arrays know: float32, float64, int8 to int32, uint8 to uint32.
    """
    parts, start, listed = [], 0, {}
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array)
        data = flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes()
        listed[name] = {"dtype": flat.dtype.name, "shape": list(flat.shape), "start": start}
        parts += [data, bytes(-len(data) % 8)]
        start += len(data) + -len(data) % 8
    header = json.dumps({"facts": fields, "arrays": listed}, separators=(",", ":"), allow_nan=False).encode()
    header += b" " * (-(len(header) + 4) % 8)
    return b"".join([len(header).to_bytes(4, "little"), header, *parts])


def decode_bundle(bundle: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """The reverse of `encode_bundle`.

    >>> facts, arrays = decode_bundle(encode_bundle({"a": 1}, {"x": np.arange(3, dtype=np.int32)}))
    >>> facts, arrays["x"].tolist()
    ({'a': 1}, [0, 1, 2])
    """
    length = int.from_bytes(bundle[:4], "little")
    header = json.loads(bundle[4 : 4 + length])
    arrays = {
        name: np.frombuffer(
            bundle, np.dtype(told["dtype"]).newbyteorder("<"), int(np.prod(told["shape"])), 4 + length + told["start"]
        ).reshape(told["shape"])
        for name, told in header["arrays"].items()
    }
    return header["facts"], arrays


def map_fields(m: SaliencyMap) -> dict[str, Any]:
    """What a browser must know of a map beside its values: where it lies, what became of it."""
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

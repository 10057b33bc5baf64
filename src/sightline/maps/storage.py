"""Stored maps of a run: one Zarr group per part, an array per source."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.core.buffer import default_buffer_prototype

from sightline._util.formats import check_format
from sightline.core import STATUSES, Array, Frame, SaliencyMap
from sightline.errors import RunError
from sightline.maps import quantization

MAPS_FORMAT = 2
"""Format of a part of stored maps: its arrays and attributes."""


def write_maps(
    path: Path, radiographs: Sequence[str], findings: Sequence[str], maps: Mapping[str, Sequence[SaliencyMap]]
) -> None:
    """Store maps of some radiographs as one Zarr group, with an array float32 (N, F, h, w) per source.

    Storage is lossless, except for maps as fine as an image, which take sixteen bits per pixel (see
    `sightline.maps.quantization`). A map that failed is stored as zeros with its status.

    Parameters
    ----------
    path : Path
        Folder of the group.
    radiographs : sequence of str
        N identifiers.
    findings : sequence of str
        F findings.
    maps : mapping of str to sequence of SaliencyMap
        Source -> N × F maps in row-major order (radiograph, finding).

    Raises
    ------
    RunError
        If the maps of a source have different shapes.
    """
    n, f = len(radiographs), len(findings)
    group = zarr.open_group(str(path), mode="w")
    attributes: dict[str, Any] = {
        "format": MAPS_FORMAT,
        "radiographs": list(radiographs),
        "findings": list(findings),
        "sources": {},
    }
    for number, (source, flat) in enumerate(maps.items()):
        shapes = {m.values.shape for m in flat if m.values.size}
        if len(shapes) > 1:
            raise RunError(f"maps of {source!r} have different shapes {sorted(shapes)}; one part holds one shape")
        h, w = shapes.pop() if shapes else (1, 1)
        values = np.zeros((n, f, h, w), np.float32)
        for i, m in enumerate(flat):
            if m.values.size:
                values[divmod(i, f)] = m.values
        packed = _quantize(values)
        stored = values if packed is None else packed.pop("codes")
        array = group.create_array(
            f"map{number}",
            shape=values.shape,
            chunks=(1, 1, h, w),
            shards=values.shape,
            dtype=stored.dtype,
            compressors=BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"),
            fill_value=0,
        )
        array[:] = stored
        attributes["sources"][source] = {
            "array": f"map{number}",
            "quantization": packed,
            "frames": [[*m.frame.size, *m.frame.box] for m in flat[::f]],
            "probabilities": [None if math.isnan(m.probability) else m.probability for m in flat],
            "statuses": [STATUSES.index(m.status) for m in flat],
            "reasons": {str(i): m.reason for i, m in enumerate(flat) if m.reason},
            "kind": flat[0].kind,
            "empty": [i for i, m in enumerate(flat) if not m.values.size],
        }
    group.attrs.update(attributes)


def _quantize(values: Array) -> dict[str, Any] | None:
    """Return codes and scales of maps (N, F, h, w) that are too fine to be stored lossless, otherwise None."""
    n, f, h, w = values.shape
    if h * w <= quantization.MAX_LOSSLESS_CELLS:
        return None
    codes, step, lowest = quantization.quantize_maps(values.reshape(n * f, h, w))
    steps = [None if math.isnan(s) else s for s in step.tolist()]
    return {"codes": codes.reshape(values.shape), "step": steps, "lowest": lowest.tolist()}


def _dequantize(stored: Array, scales: Mapping[str, Any] | None, start: int) -> Array:
    """Return maps, float32 (K, h, w), of which the first is map number `start` of the part."""
    if scales is None:
        return np.asarray(stored, np.float32)
    part = slice(start, start + len(stored))
    steps = [math.nan if s is None else s for s in scales["step"][part]]
    return quantization.dequantize_maps(stored, np.array(steps), np.array(scales["lowest"][part]))


_MAX_BYTES_IN_MEMORY = 8 << 20
"""Size in bytes up to which the files of a part are read once; larger parts are read map by map."""


@lru_cache(maxsize=16)
def _open_maps(path: str) -> tuple[zarr.Group, dict[str, Any]]:
    """Open a part; a small one is kept in memory, so that its files are not opened again for every map."""
    files = [file for file in Path(path).rglob("*") if file.is_file()]
    store: zarr.storage.MemoryStore | str = path
    if sum(file.stat().st_size for file in files) <= _MAX_BYTES_IN_MEMORY:
        buffer = default_buffer_prototype().buffer
        contents = {file.relative_to(path).as_posix(): buffer.from_bytes(file.read_bytes()) for file in files}
        store = zarr.storage.MemoryStore(contents, read_only=True)
    group = zarr.open_group(store, mode="r")
    attributes = dict(group.attrs)
    _check_maps(attributes, path)
    return group, attributes


def _attributes(part: Path) -> dict[str, Any]:
    """Read the attributes of a part of stored maps without opening its arrays."""
    attributes: dict[str, Any] = json.loads((part / "zarr.json").read_text("utf-8"))["attributes"]
    _check_maps(attributes, part)
    return attributes


def _check_maps(attributes: Mapping[str, Any], path: Path | str) -> None:
    remedy = "remove the part and give the same command again, or start the run again in a new folder"
    check_format(attributes.get("format"), MAPS_FORMAT, "part of stored maps", path, RunError, remedy)


def _get_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise RunError(f"{group.store} has no array {name!r}; the part is damaged: remove it and run again")
    return array


@lru_cache(maxsize=8)
def _index_parts(folder: str, _changed: int) -> dict[str, str]:
    """Return radiograph -> part for a folder of map parts."""
    parts = sorted(p.name for p in Path(folder).iterdir() if not p.name.startswith("."))
    return {radiograph: part for part in parts for radiograph in _attributes(Path(folder) / part)["radiographs"]}


def read_maps(
    path: Path, radiograph: str, sources: Collection[str] | None = None, finding: str | None = None
) -> Iterator[SaliencyMap]:
    """Read the maps of one radiograph in a part.

    Parameters
    ----------
    path : Path
        Folder of the part.
    radiograph : str
        Identifier of the radiograph.
    sources : collection of str, optional
        Sources; all by default.
    finding : str, optional
        Finding; all by default.

    Yields
    ------
    SaliencyMap
        Map, by source, then by finding.
    """
    group, attributes = _open_maps(str(path))
    row, findings = attributes["radiographs"].index(radiograph), attributes["findings"]
    if finding is not None and finding not in findings:
        return
    columns = range(len(findings)) if finding is None else [findings.index(finding)]
    for source, facts in attributes["sources"].items():
        if sources is not None and source not in sources:
            continue
        first = row * len(findings) + columns[0]
        stored = np.asarray(_get_array(group, facts["array"])[row, columns[0] : columns[-1] + 1])
        values = _dequantize(stored, facts.get("quantization"), first)  # (K, h, w)
        height, width, *box = facts["frames"][row]
        frame = Frame((height, width), (box[0], box[1], box[2], box[3]))
        for i, column in enumerate(columns, first):
            probability = facts["probabilities"][i]
            yield SaliencyMap(
                radiograph,
                findings[column],
                source,
                np.zeros((0, 0), np.float32) if i in facts["empty"] else values[i - first],
                frame,
                math.nan if probability is None else probability,
                STATUSES[facts["statuses"][i]],
                facts["reasons"].get(str(i), ""),
                facts["kind"],
            )

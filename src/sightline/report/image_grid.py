"""Pictures in rows and columns with their names, as SVG for a page and as PNG for print or for another's eyes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np

from sightline._util.files import encode_png
from sightline.core import Array
from sightline.imaging.masks import outlines
from sightline.report.example_panels import REFERENCE_OUTLINE, encode_jpeg
from sightline.report.svg import INK, MUTED, PAPER

_LABEL, _HEAD, _GAP = 150, 34, 6
_COLORS = mpl.colormaps["viridis"]
"""Perceptually even, and legible without color."""


@dataclass(frozen=True)
class ImageGrid:
    """Rows of pictures, float (h, w, 3) in [0, 1] each, all rows with as many."""

    headers: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Array]]] = field(repr=False)

    def to_svg(self, width: float = 1080.0) -> str:
        side = (width - _LABEL) / len(self.headers) - _GAP
        parts = [_text_element(_LABEL + i * (side + _GAP), 22, head, MUTED) for i, head in enumerate(self.headers)]
        top = float(_HEAD)
        for title, cells in self.rows:
            height = side * cells[0].shape[0] / cells[0].shape[1]
            parts += [_text_element(0, top + 14 + 16 * i, words, INK) for i, words in enumerate(_split_title(title))]
            for i, cell in enumerate(cells):
                small = cv2.resize(
                    cell.astype(np.float32), (round(2 * side), round(2 * height)), interpolation=cv2.INTER_AREA
                )
                parts.append(
                    f'<image href="{encode_jpeg(small)}" x="{_LABEL + i * (side + _GAP):.1f}" y="{top:.1f}" '
                    f'width="{side:.1f}" height="{height:.1f}"/>'
                )
            top += height + _GAP
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{top:.0f}" '
            f'viewBox="0 0 {width:g} {top:.0f}" font-family="system-ui, sans-serif">'
            f'<rect width="{width:g}" height="{top:.0f}" fill="{PAPER}"/>{"".join(parts)}</svg>'
        )

    def write_png(self, path: Path, side: int = 600) -> Path:
        """Written at `side` pixels a picture: 300 a inch where a picture is two inches wide."""
        label, head, gap = side // 2, side // 8, side // 40
        heights = [round(side * cells[0].shape[0] / cells[0].shape[1]) for _, cells in self.rows]
        sheet = np.full(
            (head + sum(heights) + gap * len(heights), label + (side + gap) * len(self.headers), 3), 255, np.uint8
        )
        scale = side / 420
        for i, name in enumerate(self.headers):
            _draw_text(sheet, name, (label + i * (side + gap), head - gap), scale, side)
        top = head
        for (title, cells), height in zip(self.rows, heights, strict=True):
            for line, words in enumerate(_split_title(title)):
                _draw_text(sheet, words, (gap, top + round((30 + 42 * line) * scale)), scale, label - 2 * gap)
            for i, cell in enumerate(cells):
                left = label + i * (side + gap)
                large = cv2.resize(cell.astype(np.float32), (side, height), interpolation=cv2.INTER_LINEAR)
                sheet[top : top + height, left : left + side] = np.rint(np.clip(large, 0, 1) * 255)
            top += height + gap
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(sheet))
        return path


def outline_image(image: Array, mask: Array | None = None) -> Array:
    """A film (h, w) with the outline of a mark, float32 (h, w, 3)."""
    shown = np.repeat(image[..., None].astype(np.float32), 3, 2)
    if mask is not None:
        color = tuple(int(REFERENCE_OUTLINE[i : i + 2], 16) / 255 for i in (1, 3, 5))
        shown = np.ascontiguousarray(shown)
        cv2.drawContours(shown, outlines(mask), -1, color, max(1, round(min(image.shape) / 150)))
    return shown


def overlay_map(image: Array, values: Array, mask: Array | None = None) -> Array:
    """A film under a map (any grid, positive parts): color from 0 to the 99th percentile, one scale for all."""
    positive = np.maximum(values, 0)
    strength = positive / max(float(np.quantile(positive, 0.99)), 1e-30)
    fine = np.clip(cv2.resize(strength.astype(np.float32), image.shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
    alpha = (0.75 * fine**0.7)[..., None]
    shown: Array = outline_image(image, mask) * (1 - alpha) + _COLORS(fine)[..., :3].astype(np.float32) * alpha
    return shown


def highlight_top(image: Array, values: Array, share: float = 0.1) -> Array:
    """A film whose highest `share` of a map's places is orange: nothing of a map of one value."""
    fine = cv2.resize(values.astype(np.float32), image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    edge = np.quantile(fine, 1 - share)
    chosen = (fine > edge) if np.ptp(fine) > 0 else np.zeros(fine.shape, bool)
    shown: Array = outline_image(image) * 0.45
    shown[chosen] = 0.3 * outline_image(image)[chosen] + 0.7 * np.array([1.0, 0.65, 0.1], np.float32)
    return shown


def _split_title(title: str) -> list[str]:
    """A long name on two lines.

    >>> _split_title("Edema"), _split_title("Enlarged Cardiomediastinum")
    (['Edema'], ['Enlarged', 'Cardiomediastinum'])
    """
    first, _, rest = title.partition(" ")
    return [first, rest] if len(title) > 14 and rest else [title]


def _text_element(x: float, y: float, text: str, color: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{color}">{escape(text)}</text>'


def _draw_text(sheet: Array, text: str, at: tuple[int, int], scale: float, room: int) -> None:
    """Words in black, made smaller until they fit."""
    while scale > 0.2 and cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)[0][0] > room:
        scale *= 0.9
    cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), max(1, round(2 * scale)), cv2.LINE_AA)

"""Grids of images: rows of cases, columns of maps, as SVG for a page and as PNG for print or for a model that reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from sightline._util.files import encode_png
from sightline.core import Array, SaliencyMap
from sightline.imaging.masks import outlines
from sightline.maps.resample import resample_to_grid
from sightline.report.overlays import REFERENCE_OUTLINE, encode_jpeg, outline_path, overlay_map, to_rgb
from sightline.report.svg import INK, MUTED, PAGE_WIDTH, PAPER

_LABEL_WIDTH, _HEADER_HEIGHT, _GAP = 132, 34, 6
"""Pixels of the page: the column of row titles, the row of headers, and the gap between cells."""


@dataclass(frozen=True)
class GridCell:
    """Image of a grid with what is drawn over it."""

    image: Array = field(repr=False)
    """float (H, W, 3) in [0, 1]."""
    mask: Array | None = field(default=None, repr=False)
    """bool (H, W), of which the outline is drawn."""
    text: str = ""
    """Text in the lower left corner."""
    path: Array | None = field(default=None, repr=False)
    """float (K, 3): row and column in pixels of the image, and seconds, of fixations in their order."""


@dataclass(frozen=True)
class GridRow:
    """Row of a grid."""

    title: str
    """Name of the finding."""
    subtitle: str
    """Name of the model, or empty."""
    cells: Sequence[GridCell | None]
    """One cell for each header; None leaves its place free."""

    @property
    def aspect(self) -> float:
        """Height of a cell as a multiple of its width."""
        height, width = next(cell for cell in self.cells if cell is not None).image.shape[:2]
        return float(height / width)


@dataclass(frozen=True)
class ImageGrid:
    """Images in rows and columns, with titles of both."""

    headers: Sequence[str]
    rows: Sequence[GridRow]

    def to_svg(self, width: float = PAGE_WIDTH) -> str:
        """Draw the grid as SVG.

        Parameters
        ----------
        width : float
            Width in pixels.

        Returns
        -------
        str
            The SVG, whose images are embedded.
        """
        side = (width - _LABEL_WIDTH) / len(self.headers) - _GAP
        columns = [_LABEL_WIDTH + i * (side + _GAP) for i in range(len(self.headers))]
        parts = [
            _text_element(x, 22, _shorten(header, side), MUTED) for x, header in zip(columns, self.headers, strict=True)
        ]
        top = float(_HEADER_HEIGHT)
        for row in self.rows:
            titles = [*(_split_title(row.title) if row.title else []), *([row.subtitle] if row.subtitle else [])]
            for i, text in enumerate(titles):
                color = MUTED if row.subtitle and i == len(titles) - 1 else INK
                parts.append(_text_element(0, top + 14 + 16 * i, text, color))
            height = side * row.aspect
            parts += [_cell_svg(cell, x, top, side, height) for x, cell in zip(columns, row.cells, strict=True) if cell]
            top += height + _GAP
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{top:.0f}" '
            f'viewBox="0 0 {width:g} {top:.0f}" font-family="system-ui, sans-serif">'
            f'<rect width="{width:g}" height="{top:.0f}" fill="{PAPER}"/>{"".join(parts)}</svg>'
        )

    def write_png(self, path: Path, side: int = 600) -> Path:
        """Write the grid as PNG, without fixations and texts in cells.

        Parameters
        ----------
        path : Path
            File to write.
        side : int
            Width of an image in pixels: 600 give 300 pixels an inch where an image is two inches wide.

        Returns
        -------
        Path
            The file.
        """
        label, header, gap = side // 2, side // 8, side // 40
        heights = [round(side * row.aspect) for row in self.rows]
        shape = (header + sum(heights) + gap * len(heights), label + (side + gap) * len(self.headers), 3)
        sheet, scale, top = np.full(shape, 255, np.uint8), side / 420, header
        for i, name in enumerate(self.headers):
            _draw_text(sheet, name, (label + i * (side + gap), header - gap), scale, side)
        for row, height in zip(self.rows, heights, strict=True):
            for line, text in enumerate([*_split_title(row.title), row.subtitle]):
                _draw_text(sheet, text, (gap, top + round((30 + 42 * line) * scale)), scale, label - 2 * gap)
            for i, cell in enumerate(row.cells):
                if cell:
                    left = label + i * (side + gap)
                    sheet[top : top + height, left : left + side] = _cell_pixels(cell, side, height)
            top += height + gap
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(sheet))
        return path


def map_cell(image: Array, saliency_map: SaliencyMap | None, mask: Array | None = None, text: str = "") -> GridCell:
    """Make the cell of a map: positive evidence from 0 to the 99th percentile of a map's positive values.

    Parameters
    ----------
    image : (H, W) float in [0, 1]
        The radiograph.
    saliency_map : SaliencyMap or None
        The map; None leaves the image as it is.
    mask : (H, W) bool or None
        Annotation, of which the outline is drawn.
    text : str
        Text in the lower left corner.

    Returns
    -------
    GridCell
        The cell.
    """
    if saliency_map is None:
        return GridCell(to_rgb(image), mask, text)
    return GridCell(overlay_map(image, scale_evidence(resample_to_grid(saliency_map), image.shape)), mask, text)


def scale_evidence(values: Array, shape: tuple[int, ...]) -> Array:
    """Scale the positive part of a map, or of a density, to [0, 1] on the pixels of an image.

    A map of positive values only is counted from its lowest value. The 99th percentile of the positive values becomes
    1, because a single bright place would hide all others.

    Parameters
    ----------
    values : (h, w) float
        The map over the whole image.
    shape : tuple of int
        Height and width of the image.

    Returns
    -------
    (H, W) float32 in [0, 1]
        The scaled map; zeros where no value is positive.
    """
    evidence = np.maximum(values - max(float(values.min()), 0.0), 0)
    positive = evidence[evidence > 0]
    scaled = (evidence / np.percentile(positive, 99) if positive.size else evidence).astype(np.float32)
    return np.clip(cv2.resize(scaled, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), 0, 1)


def highlight_top(image: Array, values: Array, share: float = 0.1) -> Array:
    """Color the highest share of a map's places orange on a darkened radiograph.

    Parameters
    ----------
    image : (H, W) float in [0, 1]
        The radiograph.
    values : (h, w) float
        The map over the whole image; one of equal values has no highest places.
    share : float
        Share of the image.

    Returns
    -------
    (H, W, 3) float32 in [0, 1]
        The colored image.
    """
    fine = cv2.resize(values.astype(np.float32), image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    edge = np.quantile(fine, 1 - share)
    chosen = (fine > edge) if np.ptp(fine) > 0 else np.zeros(fine.shape, bool)
    rgb = to_rgb(image)
    colored: Array = rgb * 0.45
    colored[chosen] = 0.3 * rgb[chosen] + 0.7 * np.array([1.0, 0.65, 0.1], np.float32)
    return colored


def pick_median_cases(scores: pd.DataFrame, max_findings: int, per_finding: int = 1) -> list[tuple[str, str]]:
    """Pick cases for a grid by rule: of the commonest findings the radiographs nearest to the median score.

    Parameters
    ----------
    scores : DataFrame
        Rows with `finding`, `radiograph` and `value`; the scores of one radiograph are averaged.
    max_findings : int
        Number of findings.
    per_finding : int
        Number of radiographs of each finding.

    Returns
    -------
    list of (str, str)
        Findings with radiographs; no radiograph is picked twice.
    """
    means = scores.groupby(["finding", "radiograph"], sort=False)["value"].mean().reset_index()
    cases: list[tuple[str, str]] = []
    for finding in means["finding"].value_counts(sort=True).index[:max_findings]:
        part = means[(means["finding"] == finding) & ~means["radiograph"].isin([r for _, r in cases])]
        ordered = list(part.sort_values(["value", "radiograph"])["radiograph"])
        first = max(0, min(len(ordered) // 2 - (per_finding - 1) // 2, len(ordered) - per_finding))
        cases += [(str(finding), str(radiograph)) for radiograph in ordered[first : first + per_finding]]
    return cases


def _cell_svg(cell: GridCell, x: float, y: float, width: float, height: float) -> str:
    """Image at twice the resolution of the page, with outline, fixations and text."""
    size = (round(2 * width), round(2 * height))
    small = cv2.resize(cell.image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    parts = [f'<image href="{encode_jpeg(small)}" width="{width:.1f}" height="{height:.1f}"/>']
    if cell.mask is not None:
        path = outline_path(cell.mask, (height, width))
        parts.append(f'<path d="{path}" fill="none" stroke="{REFERENCE_OUTLINE}" stroke-width="1.2"/>')
    if cell.path is not None and len(cell.path):
        parts.append(_scanpath_svg(cell.path, height / cell.image.shape[0]))
    if cell.text:
        parts.append(_text_element(4, height - 6, cell.text, "#ffffff"))
    return f'<g transform="translate({x:.1f} {y:.1f})">{"".join(parts)}</g>'


def _scanpath_svg(path: Array, scale: float) -> str:
    """Fixations in their order: a line, and circles whose area is the duration."""
    points, radii = path[:, :2] * scale, np.clip(np.sqrt(path[:, 2]) * 5, 1, 6)
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in points)
    circles = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>' for (y, x), r in zip(points, radii, strict=True)
    )
    return (
        f'<path d="{line}" fill="none" stroke="#2ee6c5" stroke-opacity=".7" stroke-width=".8"/>'
        f'<g fill="#2ee6c5" fill-opacity=".55">{circles}</g>'
    )


def _cell_pixels(cell: GridCell, width: int, height: int) -> Array:
    """uint8 (height, width, 3) with the outline."""
    large = cv2.resize(cell.image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    pixels = np.ascontiguousarray(np.rint(np.clip(large, 0, 1) * 255).astype(np.uint8))
    if cell.mask is not None:
        mask = cv2.resize(cell.mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        color = tuple(int(REFERENCE_OUTLINE[i : i + 2], 16) for i in (1, 3, 5))
        cv2.drawContours(pixels, outlines(mask), -1, color, max(1, width // 150))
    return pixels


def _split_title(title: str) -> list[str]:
    """Divide a long name into two lines.

    >>> _split_title("Edema"), _split_title("Enlarged Cardiomediastinum")
    (['Edema'], ['Enlarged', 'Cardiomediastinum'])
    """
    first, _, rest = title.partition(" ")
    return [first, rest] if len(title) > 14 and rest else [title]


def _shorten(text: str, width: float) -> str:
    """Text without what stands in parentheses, cut to about a width in pixels."""
    text, length = text.partition(" (")[0], max(6, int(width / 6.6))
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _text_element(x: float, y: float, text: str, color: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" fill="{color}">{escape(text)}</text>'


def _draw_text(sheet: Array, text: str, origin: tuple[int, int], scale: float, width: float) -> None:
    """Black text, made smaller until it fits."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    while scale > 0.2 and cv2.getTextSize(text, font, scale, 2)[0][0] > width:
        scale *= 0.9
    cv2.putText(sheet, text, origin, font, scale, (30, 30, 30), max(1, round(2 * scale)), cv2.LINE_AA)

"""HTML of runs, maps and estimates for notebooks: plain, with inline pictures, nothing to install or load.

It needs NumPy and Pillow only, because `sightline.core` imports it to show a map.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline._util.files import encode_png

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[Any]

SEQUENTIAL_COLORS = ((13, 17, 38), (74, 31, 110), (176, 52, 96), (240, 128, 56), (252, 230, 150))
"""Dark to bright, for maps without negative evidence."""
DIVERGING_COLORS = ((33, 82, 163), (150, 186, 224), (244, 244, 242), (232, 160, 122), (176, 38, 42))
"""Blue below zero, red above."""
MAX_SIDE = 220
"""Length of the longer side of a picture, in pixels."""
DEFAULT_METRICS = ("iou", "pointing-game", "pixel-auroc")
_TABLE = "border-collapse:collapse;font-size:inherit;font-variant-numeric:tabular-nums"
_CELL = "padding:2px 10px;text-align:{}"


def colorize(values: Array) -> Array:
    """Return a map (h, w) in colors, uint8 (h, w, 3): lowest to highest, or around zero if it has both signs."""
    low, high = float(values.min()), float(values.max())
    if low < 0 < high:
        low, high = min(low, -high), max(high, -low)
    positions = (values.astype(float) - low) / ((high - low) or 1.0) * (len(SEQUENTIAL_COLORS) - 1)  # (h, w)
    colors = np.array(DIVERGING_COLORS if low < 0 < high else SEQUENTIAL_COLORS, float)
    stops = np.arange(len(colors))
    channels = [np.interp(positions, stops, colors[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def map_html(
    values: Array,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    title: str,
    lines: Sequence[str],
) -> str:
    """Show a map at its place on a radiograph of a size (H, W), and lines of text beside it.

    box: (top, left, bottom, right), pixel edges of the radiograph that the map covers.
    """
    (height, width), (top, left, bottom, right) = size, box
    scale = MAX_SIDE / max(height, width, 1)
    picture = ""
    if values.size and np.isfinite(values).all():
        step = max(1, math.ceil(max(values.shape) / (2 * MAX_SIDE)))
        data = base64.b64encode(encode_png(colorize(values[::step, ::step]))).decode()
        place = f"left:{left * scale:.1f}px;top:{top * scale:.1f}px;width:{(right - left) * scale:.1f}px"
        picture = (
            f'<img alt="" src="data:image/png;base64,{data}" '
            f'style="position:absolute;max-width:none;{place};height:{(bottom - top) * scale:.1f}px">'
        )
    canvas = (
        f'<div style="position:relative;overflow:hidden;flex:none;background:#7774;width:{width * scale:.0f}px;'
        f'height:{height * scale:.0f}px">{picture}</div>'
    )
    text = "".join(f"<div>{escape(line)}</div>" for line in lines)
    return f'<div style="display:flex;gap:14px">{canvas}<div><div><b>{escape(title)}</b></div>{text}</div></div>'


@dataclass(frozen=True)
class Estimates:
    """A table of estimates as it is read: a row per source, mean [95 % interval] and n per metric.

    `Estimates(sl.estimates(scores))` in a notebook; also for one finding, `Estimates(table, finding="Edema")`.
    """

    table: pd.DataFrame
    finding: str = "average"
    metrics: tuple[str, ...] = ()
    """The first three of `DEFAULT_METRICS`, or of the table, by default."""

    def _repr_html_(self) -> str:
        rows = [r for r in self.table.to_dict("records") if r["finding"] == self.finding]
        return estimates_html(rows, self.metrics)


def estimates_html(rows: Sequence[Mapping[Any, Any]], metrics: Sequence[str] = ()) -> str:
    """Show rows of one finding (protocol, source, metric, mean, low, high, n) as one table per protocol."""
    if not rows:
        return "<p>no estimates</p>"
    available = dict.fromkeys(str(r["metric"]) for r in rows)
    columns = list(metrics) or [m for m in DEFAULT_METRICS if m in available] or list(available)[:3]
    protocols = dict.fromkeys(str(r["protocol"]) for r in rows)
    return "".join(_protocol_table(protocol, rows, columns) for protocol in protocols)


def _protocol_table(protocol: str, rows: Sequence[Mapping[Any, Any]], metrics: Sequence[str]) -> str:
    cells = {(str(r["source"]), str(r["metric"])): format_estimate(r) for r in rows if str(r["protocol"]) == protocol}
    right, left = _CELL.format("right"), _CELL.format("left")
    names = "".join(f'<th style="{right}">{escape(m)}</th>' for m in metrics)
    body = "".join(
        f'<tr><td style="{left}">{escape(source)}</td>'
        + "".join(f'<td style="{right}">{escape(cells.get((source, m), "–"))}</td>' for m in metrics)
        + "</tr>"
        for source in dict.fromkeys(source for source, _ in cells)
    )
    findings = dict.fromkeys(str(r["finding"]) for r in rows)
    quantity = "mean over findings" if list(findings) == ["average"] else f"{', '.join(findings)}, mean"
    caption = f"{escape(protocol)} protocol: {escape(quantity)} [95 % interval], n"
    header = f'<thead><tr><th style="{left}">source</th>{names}</tr></thead>'
    return (
        f'<table style="{_TABLE}"><caption style="text-align:left;padding:2px 10px">{caption}</caption>'
        f"{header}<tbody>{body}</tbody></table>"
    )


def format_estimate(row: Mapping[Any, Any]) -> str:
    """Format an estimate as '0.312 [0.280, 0.341] 98', with en dashes for undefined numbers.

    >>> format_estimate({"mean": 0.5, "low": None, "high": float("nan"), "n": 3})
    '0.500 [–, –] 3'
    """
    mean, low, high = (_format_number(row[k]) for k in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}] {row['n']}"


def _format_number(value: Any) -> str:
    return "–" if value is None or math.isnan(float(value)) else f"{value:.3f}"


def run_html(title: str, lines: Sequence[str], table: str, report: str, commands: Sequence[str]) -> str:
    """Show a run: title, sentences, a table, a link to its report ('' for none), and commands that continue from it."""
    text = "".join(f"<div>{escape(line)}</div>" for line in lines)
    link = f'<div><a href="{escape(report, quote=True)}">report.html</a></div>' if report else ""
    shell = "".join(f"<div><code>{escape(line)}</code></div>" for line in commands)
    return f"<div><b>{escape(title)}</b>{text}{table}{link}{shell}</div>"

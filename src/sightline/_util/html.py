"""How runs, maps and estimates show in a notebook: plain HTML with inline pictures, nothing to install or load.

NumPy and Pillow only, because `sightline.core` asks it for the picture of a map.
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

    from sightline.core import Array, SaliencyMap

SEQUENTIAL_COLORS = ((13, 17, 38), (74, 31, 110), (176, 52, 96), (240, 128, 56), (252, 230, 150))
"""Dark to bright: maps that know no evidence against."""
DIVERGING_COLORS = ((33, 82, 163), (150, 186, 224), (244, 244, 242), (232, 160, 122), (176, 38, 42))
"""Blue below zero, red above."""
MAX_SIDE = 220
"""Pixels of the longer side of a picture."""
DEFAULT_METRICS = ("iou", "hit", "pixel-auroc")
_TABLE = "border-collapse:collapse;font-size:inherit;font-variant-numeric:tabular-nums"
_CELL = "padding:2px 10px;text-align:{}"


def colorize(values: Array) -> Array:
    """A map (h, w) as uint8 (h, w, 3): lowest to highest, or around zero where it has values of both signs."""
    low, high = float(values.min()), float(values.max())
    if low < 0 < high:
        low, high = min(low, -high), max(high, -low)
    at = (values.astype(float) - low) / ((high - low) or 1.0) * (len(SEQUENTIAL_COLORS) - 1)  # (h, w)
    colors = np.array(DIVERGING_COLORS if low < 0 < high else SEQUENTIAL_COLORS, float)
    stops = np.arange(len(colors))
    return np.stack([np.interp(at, stops, colors[:, c]) for c in range(3)], -1).round().astype(np.uint8)


def map_html(m: SaliencyMap) -> str:
    """A map where it lies on its radiograph, and what is known of it."""
    (height, width), (top, left, bottom, right) = m.frame.size, m.frame.box
    scale = MAX_SIDE / max(height, width, 1)
    inner = ""
    if m.values.size and np.isfinite(m.values).all():
        step = max(1, math.ceil(max(m.values.shape) / (2 * MAX_SIDE)))
        picture = base64.b64encode(encode_png(colorize(m.values[::step, ::step]))).decode()
        place = f"left:{left * scale:.1f}px;top:{top * scale:.1f}px;width:{(right - left) * scale:.1f}px"
        inner = (
            f'<img alt="" src="data:image/png;base64,{picture}" '
            f'style="position:absolute;max-width:none;{place};height:{(bottom - top) * scale:.1f}px">'
        )
    film = (
        f'<div style="position:relative;overflow:hidden;flex:none;background:#7774;width:{width * scale:.0f}px;'
        f'height:{height * scale:.0f}px">{inner}</div>'
    )
    lines = "".join(f"<div>{escape(line)}</div>" for line in summary_lines(m))
    title = f"<b>{escape(m.finding)}</b> on {escape(m.radiograph)}"
    return f'<div style="display:flex;gap:14px">{film}<div><div>{title}</div>{lines}</div></div>'


def summary_lines(m: SaliencyMap) -> list[str]:
    """Sentences on a map: source, values, place, probability, and what became of it."""
    (height, width), box = m.frame.size, m.frame.box
    told = [m.source]
    if m.values.size:
        kind = "" if m.kind == "map" else f" ({m.kind})"
        told.append(f"{m.values.shape[0]} × {m.values.shape[1]}{kind}, {m.values.min():.3g} to {m.values.max():.3g}")
    if m.frame.is_whole:
        told.append(f"covers the radiograph, {height} × {width}")
    else:
        edges = ", ".join(f"{edge:g}" for edge in box)
        told.append(f"covers ({edges}) of the radiograph, {height} × {width} (top, left, bottom, right)")
    if not math.isnan(m.probability):
        told.append(f"probability {m.probability:.3f}")
    return told if m.status == "ok" else [*told, f"{m.status}: {m.reason}" if m.reason else m.status]


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
    """Rows of one finding, with protocol, source, metric, mean, low, high, n, as one table per protocol."""
    if not rows:
        return "<p>no estimates</p>"
    there = dict.fromkeys(str(r["metric"]) for r in rows)
    shown = list(metrics) or [m for m in DEFAULT_METRICS if m in there] or list(there)[:3]
    return "".join(
        _protocol_table(protocol, rows, shown) for protocol in dict.fromkeys(str(r["protocol"]) for r in rows)
    )


def _protocol_table(protocol: str, rows: Sequence[Mapping[Any, Any]], metrics: Sequence[str]) -> str:
    cells = {(str(r["source"]), str(r["metric"])): format_estimate(r) for r in rows if str(r["protocol"]) == protocol}
    right, left = _CELL.format("right"), _CELL.format("left")
    heads = "".join(f'<th style="{right}">{escape(m)}</th>' for m in metrics)
    body = "".join(
        f'<tr><td style="{left}">{escape(source)}</td>'
        + "".join(f'<td style="{right}">{escape(cells.get((source, m), "–"))}</td>' for m in metrics)
        + "</tr>"
        for source in dict.fromkeys(source for source, _ in cells)
    )
    findings = dict.fromkeys(str(r["finding"]) for r in rows)
    of = "mean over findings" if list(findings) == ["average"] else f"{', '.join(findings)}, mean"
    caption = f"{escape(protocol)} protocol: {escape(of)} [95 % interval], n"
    head = f'<thead><tr><th style="{left}">source</th>{heads}</tr></thead>'
    return (
        f'<table style="{_TABLE}"><caption style="text-align:left;padding:2px 10px">{caption}</caption>'
        f"{head}<tbody>{body}</tbody></table>"
    )


def format_estimate(row: Mapping[Any, Any]) -> str:
    """'0.312 [0.280, 0.341] 98'; en dashes for what is undefined.

    >>> format_estimate({"mean": 0.5, "low": None, "high": float("nan"), "n": 3})
    '0.500 [–, –] 3'
    """
    mean, low, high = (_format_number(row[k]) for k in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}] {row['n']}"


def _format_number(value: Any) -> str:
    return "–" if value is None or math.isnan(float(value)) else f"{value:.3f}"


def run_html(title: str, lines: Sequence[str], table: str, report: str, commands: Sequence[str]) -> str:
    """A run: title, sentences, a table, a link to its report ('' for none), and commands that go on from there."""
    told = "".join(f"<div>{escape(line)}</div>" for line in lines)
    link = f'<div><a href="{escape(report, quote=True)}">report.html</a></div>' if report else ""
    shell = "".join(f"<div><code>{escape(line)}</code></div>" for line in commands)
    return f"<div><b>{escape(title)}</b>{told}{table}{link}{shell}</div>"

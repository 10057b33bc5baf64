"""Style of the figures: palette, type sizes, and SVG with real text and reproducible bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

INK, MUTED, RULE, BAND, PAPER = "#1b2127", "#5b656f", "#d4d9de", "#f5f7f8", "#fefefe"
MODEL_COLORS = ("#0f62a6", "#00856f", "#7a53ad")
"""The best source of each model, best model first."""
CONTROL_COLOR, READER_COLOR, LOCALIZER_COLOR = "#868e96", "#c8540a", "#8f3a84"
KIND_COLORS = {
    "model": MODEL_COLORS[0],
    "control": CONTROL_COLOR,
    "reader": READER_COLOR,
    "localizer": LOCALIZER_COLOR,
    "ceiling": LOCALIZER_COLOR,
}
"""Color of each kind of source, on every page (colorblind-safe: blue, gray, orange, plum)."""
KIND_MARKERS = {"model": "o", "control": "s", "reader": "D", "localizer": "^", "ceiling": "^"}

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    BAND: "band",
    PAPER: "paper",
    MODEL_COLORS[0]: "model",
    MODEL_COLORS[1]: "model-2",
    MODEL_COLORS[2]: "model-3",
    CONTROL_COLOR: "control",
    READER_COLOR: "reader",
    LOCALIZER_COLOR: "localizer",
}
"""Drawn color -> CSS variable that replaces it inside the page, so that figures follow light and dark."""
_FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
PAGE_WIDTH = 1080.0
"""Pixels of the page's column."""
SMALL_SIZE, TEXT_SIZE = 11.5, 13.0
"""Type sizes in pixels: a figure is drawn at 72 dots per inch, one unit of its SVG being one pixel of the page."""


@dataclass(frozen=True, slots=True)
class Plot:
    """Figure with its data and its texts."""

    name: str
    """File name without suffix."""
    svg: str
    """Stands alone: fixed colors on a paper background."""
    data: pd.DataFrame
    """Numbers of the figure, one row for each element."""
    alt_text: str
    """Description for readers who cannot see it."""
    caption: str


@dataclass(frozen=True, slots=True)
class Series:
    """Source with its color, marker and name in a figure."""

    source: str
    label: str
    color: str
    marker: str
    is_filled: bool = True


def make_canvas(width: float, height: float) -> Figure:
    """Make an empty figure.

    Parameters
    ----------
    width : float
        Width in pixels.
    height : float
        Height in pixels.

    Returns
    -------
    Figure
        The figure.
    """
    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=PAPER)


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes without a frame and with a light vertical grid.

    Parameters
    ----------
    figure : Figure
        The figure.
    left : float
        Distance from the left edge, in pixels.
    top : float
        Distance from the top edge, in pixels.
    width : float
        Width in pixels.
    height : float
        Height in pixels.

    Returns
    -------
    Axes
        The axes.
    """
    full_width, full_height = figure.get_size_inches() * 72
    box = (left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height)
    ax: Axes = figure.add_axes(box, facecolor="none")
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.grid(axis="x", color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.tick_params(length=0, pad=6, labelsize=SMALL_SIZE, labelcolor=MUTED)
    return ax


def write_svg(figure: Figure, name: str) -> str:
    """Write a figure as SVG; equal figures give equal bytes.

    Parameters
    ----------
    figure : Figure
        The figure.
    name : str
        Name that every id begins with.

    Returns
    -------
    str
        The SVG.
    """
    out = io.StringIO()
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        if not axis.get_label_text():
            axis.set_label_coords(0, 0)  # else matplotlib measures every tick label to find the place of no label
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", out.getvalue(), flags=re.DOTALL
    )  # would rule the page
    text = re.sub(r"(font: [^;\"]*?[\d.]+px) [^;\"]*", rf"\1 {_FAMILY}", text)
    text = text.replace("<svg ", f'<svg font-family="{_FAMILY}" stroke-linejoin="round" ', 1)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", _shorten(text))


def _shorten(text: str) -> str:
    """Leave out what changes nothing: ids that nothing refers to, bare groups, white space, needless digits."""
    numbers = {name: str(i) for i, name in enumerate(dict.fromkeys(re.findall(r'(?:href="#|url\(#)([^")]+)', text)))}
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{numbers[m[1]]}"' if m[1] in numbers else "", text)
    text = re.sub(r'(href="#|url\(#)([^")]+)', lambda m: m[1] + numbers[m[2]], text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)  # the root states it
    text = re.sub(r' transform="rotate\(-0 [^"]*"|stroke-dashoffset: 0; ?', "", text)
    text = re.sub(r' d="([^"]*)"', _compact_path, text)
    text = re.sub(r"<[^>]+>", lambda m: re.sub(r"(\d+\.\d{2})\d+", r"\1", m[0]), text)
    text = re.sub(r">\s+<", "><", re.sub(r"<!--.*?-->", "", text))
    return _without_bare_groups(text)


def _without_bare_groups(text: str) -> str:
    """Remove the tags of groups without attributes, and whole empty groups."""
    kept: list[str] = []
    is_bare: list[bool] = []
    for token in re.split(r"(<g\b[^>]*>|</g>)", text):
        if token == "</g>":
            kept += [] if is_bare.pop() else [token]
        elif token.startswith("<g") and token.endswith("/>"):
            continue
        elif re.match(r"<g\b", token):
            is_bare.append(token == "<g>")
            kept += [] if is_bare[-1] else [token]
        else:
            kept.append(token)
    return "".join(kept)


def _compact_path(match: re.Match[str]) -> str:
    commands = re.sub(r" *([A-Za-z]) *", r"\1", " ".join(match[1].split()))
    return f' d="{commands}"'


def rename_svg(text: str, name: str, new_name: str) -> str:
    """Give a figure another name, so that two figures of the same name can stand on one page.

    Parameters
    ----------
    text : str
        SVG, as `write_svg` returns it.
    name : str
        Name that every id begins with.
    new_name : str
        Name that every id is to begin with.

    Returns
    -------
    str
        The SVG with other ids.
    """
    return re.sub(rf'(\bid="|href="#|url\(#){re.escape(name)}-', rf"\g<1>{new_name}-", text)


def inline_svg(svg: str) -> str:
    """Prepare an SVG for the body of a page: no prolog, flexible width, colors from the variables of the page.

    Parameters
    ----------
    svg : str
        A complete SVG.

    Returns
    -------
    str
        The SVG element.
    """
    svg = svg[svg.index("<svg") :]
    head, body = svg.split(">", 1)
    size = dict(re.findall(r'(width|height)="([\d.]+)(?:pt)?"', head))
    head = re.sub(r' (width|height)="[\d.]+(?:pt)?"', "", head)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var(--{variable})")
    return f'{head} style="max-width: {size["width"]}px" aria-hidden="true" focusable="false">{body}'


def elide(text: str, max_length: int = 38) -> str:
    """Shorten a label in its middle, where names differ least.

    Parameters
    ----------
    text : str
        The text.
    max_length : int
        Highest number of characters.

    Returns
    -------
    str
        The label.

    Examples
    --------
    >>> elide("Enlarged Cardiomediastinum", 16)
    'Enlarge…iastinum'
    """
    if len(text) <= max_length:
        return text
    tail = max_length // 2
    return f"{text[: max_length - tail - 1]}…{text[-tail:]}"


def label_width(labels: Sequence[str]) -> float:
    """Estimate the width of the longest label at `TEXT_SIZE`, in any system font.

    Parameters
    ----------
    labels : sequence of str
        The labels.

    Returns
    -------
    float
        Width in pixels, with a margin.
    """
    return 26 + 7.4 * max((len(text) for text in labels), default=0)


def draw_legend(figure: Figure, series: Sequence[Series]) -> None:
    """Draw a legend along the top, in as many lines as it takes.

    Parameters
    ----------
    figure : Figure
        The figure.
    series : sequence of Series
        Entries of the legend.
    """
    width, height = figure.get_size_inches() * 72
    x, y = 0.0, 14.0
    for s in series:
        label = elide(s.label, 40)
        wide = 26 + 7.4 * len(label) + 22
        if x and x + wide > width:
            x, y = 0.0, y + 18
        face = s.color if s.is_filled else PAPER
        at = ([(x + 8) / width], [1 - y / height])
        sample = Line2D(*at, marker=s.marker, color=s.color, markerfacecolor=face, markersize=7, linestyle="none")
        figure.add_artist(sample)
        figure.text((x + 20) / width, 1 - y / height, label, size=TEXT_SIZE, color=INK, va="center")
        x += wide

"""One page for several protocols: what each protocol shows, and which parts are the same under all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sightline.report.layout import Section
from sightline.report.run_view import RunView
from sightline.report.svg import Plot, rename_svg

MEANINGS = {
    "corrected": "known errors of the published code are repaired",
    "published": "as the published code computes them",
}
"""Protocol -> what its numbers are, for the choice on the page."""


@dataclass(frozen=True, slots=True)
class Part:
    """HTML that is shown under one protocol, or under all."""

    html: str
    protocol: int = -1
    """Number of the protocol; -1 for all."""


@dataclass(frozen=True, slots=True)
class SwitchedSection:
    """Section of a page whose parts depend on the protocol."""

    id: str
    title: str
    parts: Sequence[Part]
    protocols: Sequence[int] = ()
    """Numbers of the protocols that have the section; empty for all."""


def protocol_views(view: RunView) -> list[RunView]:
    """Return the view of a run under each of its protocols.

    Parameters
    ----------
    view : RunView
        The run under its main protocol.

    Returns
    -------
    list of RunView
        The main view first.
    """
    return [view, *(RunView(view.run, name) for name in view.protocols if name != view.protocol)]


def distinct_plots(main: Mapping[str, Plot], other: Mapping[str, Plot], protocol: str) -> dict[str, Plot]:
    """Give the figures of another protocol names of their own, where they differ from those of the main protocol.

    Parameters
    ----------
    main : mapping of str to Plot
        Figures under the main protocol, by name.
    other : mapping of str to Plot
        Figures under the other protocol.
    protocol : str
        Name of the other protocol.

    Returns
    -------
    dict of str to Plot
        Figures by their original name; those that differ are files called NAME-PROTOCOL.
    """
    plots = {}
    for name, plot in other.items():
        same = main.get(name)
        if same is not None and same.svg == plot.svg and same.caption == plot.caption:
            plots[name] = same
        else:
            new_name = f"{plot.name}-{protocol}"
            plots[name] = replace(plot, name=new_name, svg=rename_svg(plot.svg, plot.name, new_name))
    return plots


def switch_html(variants: Sequence[str]) -> list[Part]:
    """Join the HTML of one part under every protocol.

    Parameters
    ----------
    variants : sequence of str
        HTML under each protocol; '' where there is none.

    Returns
    -------
    list of Part
        One part if all are equal, else a part for each protocol that has any.
    """
    if len(set(variants)) == 1:
        return [Part(variants[0])]
    return [Part(html, i) for i, html in enumerate(variants) if html]


def switch_sections(
    variants: Sequence[Sequence[Section]], rendered: Sequence[Mapping[str, Sequence[str]]]
) -> list[SwitchedSection]:
    """Join the sections of every protocol, block by block, so that what is equal stands on the page once.

    Parameters
    ----------
    variants : sequence of sequences of Section
        Sections under each protocol, in reading order; the main protocol first.
    rendered : sequence of mappings of str to sequence of str
        Under each protocol: id of a section -> HTML of its blocks.

    Returns
    -------
    list of SwitchedSection
        All sections, in the order of the main protocol; a section that only another protocol has follows the section
        that it follows there.
    """
    order: list[str] = []
    titles: dict[str, str] = {}
    for sections in variants:
        before = -1
        for section in sections:
            if section.id not in titles:
                titles[section.id] = section.title
                order.insert(before + 1, section.id)
            before = order.index(section.id)
    joined = []
    for name in order:
        blocks = [list(html.get(name, ())) for html in rendered]
        holders = [i for i, html in enumerate(rendered) if name in html]
        if len({len(b) for b in blocks}) == 1:
            parts = [part for row in zip(*blocks, strict=True) for part in switch_html(row)]
        else:
            parts = switch_html(["".join(b) for b in blocks])
        everywhere = len(holders) == len(rendered)
        joined.append(SwitchedSection(name, titles[name], parts, () if everywhere else holders))
    return joined

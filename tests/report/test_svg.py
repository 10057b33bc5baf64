import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pytest

from sightline.report import svg as draw


def sample(name: str) -> str:
    figure = draw.make_canvas(200, 100)
    ax = draw.add_axes(figure, 20, 20, 150, 60)
    ax.plot([0, 1], [0, 1], "o", color=draw.MODEL_COLORS[0])
    ax.set_title("A < B & C", color=draw.INK)
    return draw.write_svg(figure, name)


def test_equal_figures_give_equal_bytes():
    assert sample("a") == sample("a")


def test_text_stays_text_in_system_fonts():
    svg = sample("a")
    assert "A &lt; B &amp; C" in svg
    assert "DejaVu" not in svg and "system-ui" in svg


def test_an_inlined_figure_has_no_rules_for_the_page():
    assert "<style" not in sample("a")


def test_ids_of_two_figures_never_meet():
    ids = [set(re.findall(r'\bid="([^"]+)"', sample(name))) for name in ("a", "b")]
    assert ids[0] and not ids[0] & ids[1]


def test_every_reference_has_its_definition():
    svg = sample("a")
    used = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
    assert used and used <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_the_file_carries_no_date_and_no_version():
    assert "metadata" not in sample("a")
    assert "Matplotlib" not in sample("a")


def test_inline_follows_the_page():
    inline = draw.inline_svg(sample("a"))
    assert inline.startswith("<svg")
    assert "var(--model)" in inline and "var(--ink)" in inline
    assert draw.MODEL_COLORS[0] not in inline
    assert 'width="200' not in inline and "max-width: 200" in inline
    ET.fromstring(inline)


def test_every_drawn_color_has_a_variable_in_the_stylesheet():
    text = Path(draw.__file__).with_name("style.css").read_text("utf-8")
    for color, variable in draw._VARIABLES.items():
        assert f"--{variable}: {color}" in text


def test_a_figure_keeps_only_what_is_drawn():
    """Numbers have at most two decimals, every id is referred to, no group is empty, and the paths are the same."""
    figure = draw.make_canvas(200, 100)
    ax = draw.add_axes(figure, 20, 20, 150, 60)
    ax.plot([0, 1 / 3, 1], [0, 1 / 7, 1], color=draw.MODEL_COLORS[0])
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(out, format="svg")
    short = draw.write_svg(figure, "a")
    assert len(short) < 0.7 * len(out.getvalue())
    assert not re.search(r"\.\d{3}", short.split("<svg", 1)[1].split("clipPath")[0].replace("www.w3.org", ""))
    assert "<g/>" not in short and "<g></g>" not in short
    drawn = list(ET.fromstring(short).iter("{http://www.w3.org/2000/svg}path"))
    before = list(ET.fromstring(out.getvalue()).iter("{http://www.w3.org/2000/svg}path"))
    for a, b in zip(drawn, before, strict=True):
        numbers = [[float(x) for x in re.findall(r"-?\d+\.?\d*", p.attrib["d"])] for p in (a, b)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.01)


def test_a_renamed_figure_shares_no_id_with_the_first():
    svg = sample("a")
    renamed = draw.rename_svg(svg, "a", "a-published")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (svg, renamed)]
    assert ids[1] and not ids[0] & ids[1] and len(renamed) > len(svg)
    assert set(re.findall(r"url\(#([^)]+)\)", renamed)) <= ids[1]

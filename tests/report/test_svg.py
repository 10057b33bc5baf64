import re
import xml.etree.ElementTree as ET
from pathlib import Path

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

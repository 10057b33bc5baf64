"""Registration, lookup, plugins."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sightline.errors import SightlineError, UnknownNameError
from sightline.evaluation.scoring import score
from sightline.metrics.registry import metrics
from sightline.registry import Registry, load_plugin


@dataclass(frozen=True)
class Facts:
    unit: str


def test_a_name_is_registered_once() -> None:
    colors: Registry[Facts] = Registry("color", Facts)

    @colors("red", unit="nm")
    def red() -> int:
        """About 700."""
        return 700

    assert colors["red"]() == red() == 700
    assert list(colors) == ["red"]
    with pytest.raises(SightlineError, match="registered twice"):
        colors("red", unit="nm")(red)


def test_a_built_in_module_is_imported_when_its_name_is_asked_for_and_keeps_it() -> None:
    code = (
        "import sys\nfrom sightline.data import datasets\nfrom sightline.errors import SightlineError\n"
        "assert 'rsna' in list(datasets) and 'sightline.data.loaders.rsna' not in sys.modules\n"
        "try:\n    datasets('rsna', title='a', source='b', license='c')(lambda path: None)\n"
        "except SightlineError as error:\n    assert 'registered twice' in str(error)\n"
        "else:\n    raise AssertionError\n"
        "assert datasets['rsna'].function.__name__ == 'load_rsna'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_misspelled_fact_fails_at_registration() -> None:
    colors: Registry[Facts] = Registry("color", Facts)
    with pytest.raises(SightlineError, match="unitt"):
        colors("red", unitt="nm")(lambda: 0)


def test_an_unknown_name_says_what_is_close_and_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'dice'\? Known: .*iou"):
        metrics["dise"]
    with pytest.raises(UnknownNameError, match=r"did you mean 'iou'"):
        metrics["IoU"]


def test_a_plugin_adds_a_metric_that_is_scored(tmp_path: Path, toy_data, toy_maps) -> None:
    file = tmp_path / "my_metric.py"
    file.write_text(
        "from sightline.metrics import metrics\n"
        "@metrics('half', title='Half', takes='confusion', higher_is_better=True, range=(0, 1), source='ours')\n"
        "def half(c):\n    'One half.'\n    return 0.5\n"
    )
    load_plugin(file)
    load_plugin(file)  # again is harmless
    try:
        assert set(score(toy_maps, toy_data, ["half"])["value"]) == {0.5}
    finally:
        metrics._entries.pop("half")  # registries outlive a test
    with pytest.raises(SightlineError, match="not a file"):
        load_plugin(tmp_path / "none.py")


def test_an_import_path_is_followed_when_the_entry_is_used() -> None:
    colors: Registry[Facts] = Registry("color", Facts)
    colors.add("blue", "no_such_module:blue", unit="nm")
    colors.add("join", "os.path:join", unit="none")
    assert colors["join"]("a", "b").endswith("b") and colors["blue"].info.unit == "nm"
    with pytest.raises(ModuleNotFoundError):
        colors["blue"]()
    with pytest.raises(SightlineError, match=r"registered twice: by no_such_module:blue and by os\.path:join"):
        colors.add("blue", "os.path:join", unit="nm")

"""Maps of a run measured, narrated and checked, with controls that show whether a text was read off the maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import sightline as sl
from sightline._cli.narrate import check_narrative
from sightline.core import Case, Dataset, Frame, SaliencyMap
from sightline.evaluation.narration import narrate
from sightline.evaluation.narration.measure import (
    compare_with_reports,
    measure_maps,
    permutation_controls,
    summarize_agreement,
    tabulate_claims,
    write_narrative,
)
from sightline.imaging.masks import rasterize_annotation
from sightline.maps.storage import write_maps
from sightline.runs.run import Run

FINDINGS = ("Pleural Effusion", "Cardiomegaly", "Pneumothorax")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return sl.open_dataset("phantom:60?size=64")


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """'seer' points at what is marked, 'lost' anywhere."""
    made = Run.start(tmp_path_factory.mktemp("reading") / "run", "pretraining", {})
    for name in ("seer", "lost"):
        store(made, name, data)
    return made


def store(run: Run, name: str, data: Dataset) -> None:
    """Maps of one source for every radiograph and finding."""
    source, made = f"{name}/intrinsic", []
    for number, r in enumerate(data.radiographs):
        for f in FINDINGS:
            assert r.size is not None
            mark = data.annotation(r.id, f, data.reference_reader)
            seen = np.random.default_rng(number).random(r.size)
            if name == "seer":
                seen = np.zeros(r.size) if mark is None else rasterize_annotation(mark)
            values = np.asarray(cv2.resize(np.asarray(seen, np.float32), (64, 64), interpolation=cv2.INTER_AREA))
            made.append(SaliencyMap(r.id, f, source, values, Frame.whole(r.size)))
    ids = [r.id for r in data.radiographs]
    run.write_part(f"maps-{name}", "000000", lambda path: write_maps(path, ids, FINDINGS, {source: made}))


def some(data: Dataset) -> list[Case]:
    return [Case(r, f) for r in data.radiographs for f in FINDINGS if r.labels[f] == 1]


def test_maps_on_the_marks_are_read_where_the_findings_are(data: Dataset, run: Run) -> None:
    table = measure_maps(run, data, {"seer/intrinsic": "seer", "lost/intrinsic": "lost"}, some(data))
    facts = write_narrative(run, table)
    low = facts.estimate("seer", "Pleural Effusion", "lower")
    heart = facts.estimate("seer", "Cardiomegaly", "cardiac")
    assert low is not None and low["low"] > 1.2 and heart is not None and heart["low"] > 1.2
    gap = facts.difference("seer", "lost", "average")
    assert gap is not None and gap["low"] > 0
    text = (run.path / "narrative.md").read_text("utf-8")
    assert text == narrate(facts) and "Maps of seer are more focused than those of lost" in text
    claims = run.table("narrative_claims")
    assert set(claims["verdict"]) == {"supported"} and len(claims) >= 4


def test_a_text_that_was_read_off_the_maps_suffers_when_it_is_laid_beside_others(data: Dataset, run: Run) -> None:
    facts = write_narrative(
        run, measure_maps(run, data, {"seer/intrinsic": "seer", "lost/intrinsic": "lost"}, some(data))
    )
    rates = permutation_controls(narrate(facts), facts)
    assert rates["as it is"] == 0 and rates["models exchanged"] > 0.3 and rates["findings exchanged"] > 0
    book = "Edema\n- seer: Perihilar activation.\n"
    assert np.isnan(permutation_controls(book, facts)["as it is"])  # nothing was measured of edema


def test_without_masks_of_the_lungs_the_film_itself_is_divided(data: Dataset, run: Run, tmp_path: Path) -> None:
    other = Run.start(tmp_path / "run", "pretraining", {})
    bare = replace(data, regions=())
    store(other, "seer", data)
    table = measure_maps(other, bare, {"seer/intrinsic": "seer"}, some(data)[:6])
    assert "cardiac" not in set(table["measure"]) and {"left", "upper", "perihilar"} <= set(table["measure"])


def test_any_text_can_be_checked_from_the_command_line(
    data: Dataset, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_narrative(run, measure_maps(run, data, {"seer/intrinsic": "seer", "lost/intrinsic": "lost"}, some(data)))
    file = tmp_path / "text.md"
    file.write_text("Pleural Effusion\n- GPT: Activation of the [bold]upper[/bold] zones.\n", "utf-8")
    check_narrative(run.path, file, models=("GPT=seer",))
    said = capsys.readouterr().out
    assert (
        "contradicted: Activation of the [bold]upper[/bold] zones." in said and "contradicted, as it is: 100%" in said
    )
    with pytest.raises(sl.SightlineError, match="cannot be read as text"):
        check_narrative(run.path, tmp_path / "nothing.md")
    table = tabulate_claims("", write_narrative(run, run.table("map_measurements")))
    assert table.empty and "verdict" in table


def test_maps_on_the_marks_meet_the_reports_and_maps_of_noise_do_not(data: Dataset, run: Run) -> None:
    table = measure_maps(run, data, {"seer/intrinsic": "seer", "lost/intrinsic": "lost"}, some(data))
    meetings = compare_with_reports(table, data, some(data), 0)
    found = summarize_agreement(meetings).set_index(["model", "measure"])
    seer, lost = found.loc[("seer", "side")], found.loc[("lost", "side")]
    assert seer["mean"] > 0.9 and seer["gap_low"] > 0.1 and seer["n"] > 8
    assert lost["gap_low"] < 0 < lost["gap_high"]
    assert meetings["value"].isin([0, 1]).all() and set(meetings["measure"]) <= {"side", "third"}
    flat = table.assign(value=np.nan)
    assert (compare_with_reports(flat, data, some(data), 0)["value"] == 0).all()  # what points nowhere meets nothing
    assert compare_with_reports(table, replace(data, reports=None), some(data), 0).empty

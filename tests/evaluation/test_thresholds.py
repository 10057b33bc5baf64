from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sightline.errors import DataError
from sightline.evaluation.thresholds import read_thresholds, resolve_protocols
from sightline.protocol import CORRECTED, PUBLISHED
from sightline.runs.run import Run


def test_files_of_the_public_scripts(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("threshold,task\n0.4,Airspace Opacity\n0.2,Cardiomegaly\n,Edema\n")
    (tmp_path / "c.csv").write_text("prob_threshold,mIoU,task\n0.5,0.233,Edema\n")
    assert read_thresholds(str(tmp_path / "t.csv"), "threshold") == {"Lung Opacity": 0.4, "Cardiomegaly": 0.2}
    records = resolve_protocols("both", "", 0.0, str(tmp_path / "t.csv"), str(tmp_path / "c.csv"))
    assert [r.name for r in records] == [PUBLISHED.name, CORRECTED.name]
    for record in records:
        assert record.binarizer_for("Lung Opacity") == "above:0.4" and record.binarizer_for("Edema") == record.binarizer
        assert dict(record.probability_cutoffs) == {"Edema": 0.5}


def test_a_run_tuned_on_other_data(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "score", {})
    rows = [("published", "m/a", "Edema", 0.7, 0.1), ("corrected", "m/a", "Edema", 0.3, 0.2)]
    table = pd.DataFrame(rows, columns=["protocol", "source", "finding", "threshold", "cutoff"])
    run.write_table("tuned_thresholds", table)
    assert read_thresholds(str(tmp_path / "run"), "threshold") == {"Edema": 0.3}
    records = resolve_protocols("both", "", 0.0, str(tmp_path / "run"), "")
    assert {r.name: r.binarizer_for("Edema") for r in records} == {"published": "above:0.7", "corrected": "above:0.3"}
    run.write_table("tuned_thresholds", pd.concat([table, table.assign(source="m/b", threshold=0.6)]))
    with pytest.raises(DataError, match=r"several sources \(m/a, m/b\); name one"):
        read_thresholds(str(tmp_path / "run"), "threshold")
    assert read_thresholds(f"{tmp_path / 'run'}?source=m/b", "threshold") == {"Edema": 0.6}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "needed: threshold, task"),
        ("threshold,task\nx,Edema\n", "row 2: 'x' is not a number"),
        ("threshold,task\n0.2,Edema\n0.3,edema\n", "row 3: 'Edema' is given twice"),
    ],
)
def test_files_that_do_not_say(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_thresholds(str(tmp_path / "t.csv"), "threshold")
    with pytest.raises(DataError, match="cannot be read"):
        read_thresholds(str(tmp_path / "gone.csv"), "threshold")

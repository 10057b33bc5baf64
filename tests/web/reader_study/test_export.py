"""What readers said comes home: as readers of a data set, in CheXlocalize's layout, as COCO and as tables."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO

import sightline as sl
from sightline._cli.app import main
from sightline.data.reader_study.annotations import completed_readings
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import FinishCase, PutShape, RemoveShape
from sightline.errors import DataError
from sightline.imaging.masks import rasterize_annotation
from sightline.web.reader_study.create import create_study
from sightline.web.reader_study.export import export_study

DATA = "phantom:10?size=96"


def test_readers_of_a_study_are_the_readers_of_its_data(finished: StudyDatabase) -> None:
    data = sl.open_dataset(f"{DATA}&readers={finished.location}")
    assert data.readers == ("truth", "Dr A", "Dr A points", "Dr B", "Dr B points")
    assert data.gaze_readers[-2:] == ("Dr A clicks", "Dr B clicks")
    assert any("left out" in warning for warning in data.metadata["warnings"])
    table = sl.score(sl.ReaderMaps(data), data, ["iou", "pointing-game"])
    means = table.groupby(["source", "metric"])["value"].mean()
    assert means["reader/Dr A", "iou"] > 0.9 > means["reader/Dr B", "iou"] + 0.1
    assert means["reader/Dr A points", "pointing-game"] == 1
    gaze = data.annotation(data.radiographs[0].id, "gaze", "Dr A clicks")
    assert gaze is not None and gaze.read().duration.tolist() == [2, 2, 2]


def test_what_was_not_asked_or_not_finished_is_nobody_s_loss(finished: StudyDatabase) -> None:
    turn = next(t for t in finished.assignments(2) if t.occasion == 0 and t.case.task == "contour")
    key, shape = turn.key, PutShape(id="zz", clock=999, shape="zz", points=((1.0, 1.0),))
    full = sl.open_dataset(f"{DATA}&readers={finished.location}")
    assert turn.case.radiograph in {r.id for r in full.radiographs}
    finished.append(key, [shape])  # open again
    try:
        some = sl.open_dataset(f"{DATA}&readers={finished.location}")
        assert turn.case.radiograph not in {r.id for r in some.radiographs}
        table = sl.score(sl.ReaderMaps(some), some, ["iou"])
        assert not ((table["source"] == "reader/Dr A") & (table["status"] == "missing")).any()
    finally:
        finished.append(key, [RemoveShape(id="zy", clock=1000, shape="zz"), FinishCase(id="zx", clock=1001)])


def test_a_study_of_other_films_helps_nobody(finished: StudyDatabase, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no radiograph of phantom:3"):
        sl.open_dataset(f"phantom:3?size=96&start=500&readers={finished.location}")
    with create_study(DATA, tmp_path / "empty", tasks=("contour",)) as empty:
        pass
    with pytest.raises(DataError, match="nobody has finished a case with annotations"):
        sl.open_dataset(f"{DATA}&readers={empty.location}")


def test_chexlocalize_s_layout_reads_back(finished: StudyDatabase, tmp_path: Path) -> None:
    (out,) = export_study(finished.location, "chexlocalize", tmp_path / "out")
    ours = sl.open_dataset(f"{DATA}&readers={finished.location}")
    names = pd.read_csv(out / "ids.csv").set_index("id")["written"]
    said = 0
    for split in ("val", "test"):
        theirs = sl.open_dataset(f"chexlocalize:{out}?split={split}")
        assert theirs.readers[:5] == (
            "truth",
            "radiologist",
            "radiologist points",
            "radiologist Dr_B",
            "radiologist Dr_B points",
        )
        for radiograph in (r for r in ours.radiographs if (r.split or "test") == split):
            for finding in ours.findings:
                for mine, yours in zip(ours.readers, theirs.readers, strict=True):
                    a = ours.annotation(radiograph.id, finding, mine)
                    b = theirs.annotation(names[radiograph.id], finding, yours)
                    assert (a is None) == (b is None)
                    if a is not None and b is not None:
                        said += 1
                        assert np.array_equal(rasterize_annotation(a), rasterize_annotation(b)) or a.kind == "points"
    assert said > 20
    drawn = json.loads(next(out.glob("CheXlocalize/hb_annotations_*.json")).read_text())
    radiograph, tasks = next(iter(drawn.items()))
    assert set(tasks) > {"img_size"} and isinstance(
        next(v for k, v in tasks.items() if k != "img_size")[0][0][0], float
    )


def test_coco_opens_in_pycocotools(finished: StudyDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = export_study(finished.location, "coco", tmp_path / "out")
    coco = COCO(str(file))
    capsys.readouterr()
    reading = next(
        r
        for r in completed_readings(finished, 0)
        if r.case.task == "contour" and r.has_annotation and r.reader == "Dr B"
    )
    mark = reading.to_annotation()
    assert mark is not None
    image = next(i for i in coco.imgs.values() if i["file_name"] == reading.case.radiograph)
    category = next(c["id"] for c in coco.cats.values() if c["name"] == reading.case.finding)
    drawn = [
        a
        for a in coco.anns.values()
        if (a["image_id"], a["category_id"], a["reader"]) == (image["id"], category, "Dr B")
    ]
    outlines = [a for a in drawn if a["segmentation"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools beside NumPy 2
        union = np.any([coco.annToMask(a) for a in outlines], axis=0)
    both, either = (union & rasterize_annotation(mark)).sum(), (union | rasterize_annotation(mark)).sum()
    assert both / either > 0.6, "the same outline, filled by another rule at its rim"
    assert all(a["area"] > 0 for a in outlines) and any("keypoints" in a for a in coco.anns.values())


def test_tables(finished: StudyDatabase, tmp_path: Path) -> None:
    export_study(finished.location, "csv", tmp_path / "out")
    cases, marks = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("cases", "annotations"))
    turns = sum(len(finished.assignments(n)) for n in (1, 2))
    assert len(cases) == turns and set(cases["occasion"]) == {0, 1}
    assert cases.loc[cases["reader"] == "Dr B", "seconds"].eq(12).all()
    assert marks[marks["task"] == "point"].groupby(["reader", "radiograph", "finding", "occasion"]).size().eq(1).all()


@pytest.mark.parametrize(
    ("format", "said"), [("xml", "there is no format .xml.; allowed: chexlocalize"), ("csv", "not an empty folder")]
)
def test_what_cannot_be_written(format: str, said: str, finished: StudyDatabase, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=said):
        export_study(finished.location, format, tmp_path)


def test_the_human_benchmark_in_one_command(
    finished: StudyDatabase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    data = sl.open_dataset(DATA)
    for radiograph in data.radiographs:
        mark = data.annotation(radiograph.id, "Lung Opacity", "truth")
        if mark is not None:
            np.savez(
                maps / f"{radiograph.id}_Lung Opacity.npz", map=rasterize_annotation(mark)[::8, ::8].astype(np.float32)
            )
    spec, out = f"{DATA}&readers={finished.location}", tmp_path / "run"
    assert (
        main(
            [
                "score",
                str(maps),
                "--data",
                spec,
                "--out",
                str(out),
                "--metrics",
                "iou",
                "pointing-game",
                "--controls",
                "center",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "reader/Dr A" in printed and "reader/Dr B points" in printed
    page = (out / "report.html").read_text()
    assert "Dr A" in page and "simulated second reader" not in page
    assert "Difference from the human benchmark" in page

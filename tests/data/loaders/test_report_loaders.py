"""MIMIC-CXR and Open-I: written and read back, real reports, and what is wrong with a file told by name."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sightline as sl
from sightline.data.writers import write_dataset
from sightline.errors import DataError

OPENI = Path(__file__).resolve().parents[3] / "shared/data/formats/openi_NLMCXR_reports.tgz"


@pytest.fixture(scope="module")
def phantom() -> sl.Dataset:
    return sl.open_dataset("phantom:12?size=64")


@pytest.fixture(scope="module")
def mimic(phantom: sl.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(phantom, "mimic", tmp_path_factory.mktemp("mimic") / "set", progress=False)


def test_mimic_comes_back(phantom: sl.Dataset, mimic: Path) -> None:
    data = sl.open_dataset(f"mimic:{mimic}")
    assert [r.id for r in data.radiographs] == [r.id for r in phantom.radiographs]
    pairs = set()
    for loaded, original in zip(data.radiographs, phantom.radiographs, strict=True):
        assert {f: loaded.labels[f] for f in phantom.findings} == original.labels
        assert (loaded.view, loaded.split) == (original.view, original.split)
        pairs.add((loaded.patient, original.patient))
        np.testing.assert_allclose(loaded.read(), original.read(), atol=0.05)  # JPEG
        assert data.reports is not None and phantom.reports is not None
        assert data.reports(loaded.id).sentences() == phantom.reports(original.id).sentences()
    assert len(pairs) == len({b for _, b in pairs})


def test_options_of_mimic(mimic: Path) -> None:
    whole = sl.open_dataset(f"mimic:{mimic}")
    parts = [sl.open_dataset(f"mimic:{mimic}?split={s}") for s in {r.split for r in whole.radiographs}]
    assert sum(len(p.radiographs) for p in parts) == len(whole.radiographs)
    with pytest.raises(DataError, match="no radiograph with split=all and views=lateral"):
        sl.open_dataset(f"mimic:{mimic}?views=lateral")
    with pytest.raises(DataError, match="allowed: all, train, val, test"):
        sl.open_dataset(f"mimic:{mimic}?split=most")


def test_packed_tables_serve_and_missing_reports_are_none(mimic: Path, tmp_path: Path) -> None:
    for file in mimic.glob("*.csv"):
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    data = sl.open_dataset(f"mimic:{tmp_path}?reports={mimic}")
    assert data.reports is not None and data.reports(data.radiographs[0].id) is not None
    bare = sl.open_dataset(f"mimic:{tmp_path}")
    assert bare.reports is not None and bare.reports(bare.radiographs[0].id) is None and bare.reports("x") is None


def test_what_is_wrong_with_mimic_is_named(mimic: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata\.csv does not exist"):
        sl.open_dataset(f"mimic:{tmp_path}")
    for file in mimic.glob("*.csv"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = pd.read_csv(tmp_path / "mimic-cxr-2.0.0-split.csv")
    table.loc[1, "split"] = "exam"
    table.to_csv(tmp_path / "mimic-cxr-2.0.0-split.csv", index=False)
    with pytest.raises(DataError, match=r"split\.csv, row 3: split is 'exam'; allowed: train, validate, test"):
        sl.open_dataset(f"mimic:{tmp_path}")


def test_only_data_sets_with_reports_are_written_so(tmp_path: Path, mimic: Path) -> None:
    write_dataset(sl.open_dataset("phantom:2?size=64"), "rsna", tmp_path / "rsna", progress=False)
    with pytest.raises(DataError, match="has no reports"):
        write_dataset(
            sl.open_dataset(f"rsna:{tmp_path / 'rsna'}?finding=lung opacity"), "mimic", tmp_path / "out", progress=False
        )


XML = """<?xml version="1.0"?><eCitation><uId id="CXR{n}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION"/></Abstract></Article>
</MedlineCitation><MeSH>{major}</MeSH><parentImage id="CXR{n}_1"/><parentImage id="CXR{n}_2"/></eCitation>"""


def archive(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "reports.tgz"
    with tarfile.open(path, "w:gz") as out:
        for name, text in files.items():
            info = tarfile.TarInfo(f"ecgen-radiology/{name}")
            info.size = len(text.encode())
            out.addfile(info, io.BytesIO(text.encode()))
    return path


def test_openi_is_read_from_its_archive_and_damaged_reports_are_named(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + XML.format(n=4, findings="&a;", major="")
    path = archive(
        tmp_path,
        {
            "10.xml": XML.format(n=10, findings="The heart is enlarged.", major="<major>Cardiomegaly/mild</major>"),
            "2.xml": XML.format(n=2, findings="", major="<major>No Indexing</major>"),
            "3.xml": "<eCitation>",
            "4.xml": bomb,
            "5.xml": XML.format(n="", findings="x", major="").replace('id="CXR"', 'id=""'),
        },
    )
    data = sl.open_dataset(f"openi:{path}")
    assert [r.id for r in data.radiographs] == ["CXR2_1", "CXR2_2", "CXR10_1", "CXR10_2"]
    unknown, known = data.radiographs[0], data.radiographs[2]
    assert np.isnan(list(unknown.labels.values())).all()
    assert known.labels["Cardiomegaly"] == 1 and known.labels["Pneumothorax"] == 0
    assert data.reports is not None and data.reports("CXR10_1").sentences() == ["The heart is enlarged."]
    assert data.reports("CXR2_1").sentences() == []
    warned = data.metadata["warnings"]
    assert len(warned) == 3 and all(any(f"{n}.xml" in w for w in warned) for n in (3, 4, 5))
    with pytest.raises(DataError, match="holds no Open-I reports"):
        sl.open_dataset(f"openi:{archive(tmp_path / '.', {'3.xml': '<a'})}")
    with pytest.raises(DataError, match="neither a folder nor an archive"):
        sl.open_dataset(f"openi:{tmp_path / 'nothing.tgz'}")


@pytest.mark.skipif(not OPENI.is_file(), reason=f"the reports of Open-I are not at {OPENI}")
def test_the_real_collection_is_read_whole() -> None:
    data = sl.open_dataset(f"openi:{OPENI}")
    assert len(data.radiographs) == 7470 and len({r.study for r in data.radiographs}) <= 3955
    assert not data.metadata["warnings"] and data.reports is not None
    counts = [len(data.reports(r.id).sentences()) for r in data.radiographs]
    assert np.mean(np.array(counts) > 0) > 0.98 and 4 < np.mean(counts) < 9
    assert sum(r.labels["Cardiomegaly"] == 1 for r in data.radiographs) > 600

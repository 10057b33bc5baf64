"""What fits nothing is told, never skipped; names; a folder as a source of maps."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sightline as sl
from mapmaking import DATA, FINDINGS, GRID, SIZE, a_dataset, open_one, write_npz, write_pickle
from sightline.core import Dataset, Radiograph
from sightline.errors import DataError
from sightline.maps.folder import open_maps
from sightline.maps.formats.filenames import DatasetNames, ParsedName


def test_files_that_fit_nothing_are_listed(tmp_path: Path) -> None:
    names = {
        "p3_Edema.npz": "is of 'p3', which is no radiograph of tiny",
        "p1_Fracture.npz": "shows 'Fracture', which is no finding of tiny (Lung Opacity, Edema, Pleural Effusion)",
        "p1_Pneumothorax_map.pkl": "shows 'Pneumothorax', which is no finding of tiny",
        "overview.png": "has a name that is not RADIOGRAPH_FINDING",
        "notes.txt": "is no map",
        "p1_Edema.jpg": "is no map",
        "broken.npz": "cannot be read",
    }
    write_npz(tmp_path / "p1_Edema.npz", map=GRID)
    for name in names:
        (tmp_path / name).write_bytes(b"")
    for name in ("p3_Edema.npz", "p1_Fracture.npz"):
        write_npz(tmp_path / name, map=GRID)
    (tmp_path / ".hidden").write_bytes(b"")
    folder = open_maps(tmp_path, DATA)
    assert len(folder) == 1
    assert len(folder.problems) == len(names)
    for name, why in names.items():
        (problem,) = [p for p in folder.problems if f"{tmp_path / name} " in p]
        assert why in problem
    with pytest.raises(DataError, match="does not exist"):
        open_maps(tmp_path / "elsewhere", DATA)


def test_two_maps_of_the_same(tmp_path: Path) -> None:
    write_pickle(tmp_path / "p1_Lung Opacity_map.pkl", "Lung Opacity")
    open_maps(tmp_path, DATA)
    write_pickle(tmp_path / "p1_Airspace Opacity_map.pkl", "Airspace Opacity")
    with pytest.raises(DataError, match=r"p1_Airspace Opacity_map\.pkl and .*p1_Lung Opacity_map\.pkl are both maps"):
        open_maps(tmp_path, DATA)
    archive = write_npz(tmp_path / "many" / "x.npz", **{"p1/Edema": GRID, "p1__Edema": GRID})
    with pytest.raises(DataError, match=r"x\.npz\[p1/Edema\] and .*x\.npz\[p1__Edema\] are both maps of 'x'"):
        open_maps(archive, DATA)


def test_a_folder_that_contains_itself(tmp_path: Path) -> None:
    write_npz(tmp_path / "a" / "p1_Edema.npz", map=GRID)
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert open_one(tmp_path).source == "a"


IDS = st.lists(st.text(st.sampled_from("ab_ /é."), min_size=1, max_size=6), min_size=1, max_size=4, unique=True)


@given(IDS, st.lists(st.sampled_from([*FINDINGS, "My own_thing"]), min_size=1, unique=True), st.data())
def test_names_with_underscores_spaces_and_slashes(ids: list[str], findings: list[str], draw: st.DataObject) -> None:
    names = DatasetNames(a_dataset(ids, tuple(findings)))
    radiograph, finding = draw.draw(st.sampled_from(ids)), draw.draw(st.sampled_from(findings))
    spelled = draw.draw(st.sampled_from([finding, finding.lower(), finding.replace(" ", "_")]))
    expected = ParsedName(("net",), radiograph, finding)
    *folders, last = ("net/" + radiograph).split("/")
    for parts in ([*folders, f"{last}__{spelled}"], [*folders, f"{last}_{spelled}"], [*folders, last, spelled]):
        found = names.resolve(parts)
        if isinstance(found, str):
            assert " means " in f" {found}" and len(ids) > 1  # two ids claim the name, and it says so
        elif found != expected:
            assert found.radiograph in ids and found.radiograph != radiograph


def test_a_name_that_means_two_things_is_told_and_can_be_told_apart() -> None:
    names = DatasetNames(a_dataset(["a", "a_b"], ("Edema", "b_Edema")))
    assert "means" in names.resolve(["a_b_Edema"])
    assert names.resolve(["a__b_Edema"]) == ParsedName((), "a", "b_Edema")
    assert names.resolve(["a_b__Edema"]) == ParsedName((), "a_b", "Edema")
    assert names.resolve(["a", "b_Edema"]) == ParsedName((), "a", "b_Edema")


REAL = Path(__file__).resolve().parents[3] / "../shared/data/chexlocalize"


def test_memory_does_not_grow_with_the_number_of_maps(tmp_path: Path) -> None:
    data = a_dataset([f"p{i:03}" for i in range(200)])

    def peak(count: int) -> int:
        folder = open_maps(tmp_path / str(count), data)
        tracemalloc.start()
        try:
            assert sum(m.status == "ok" for _, maps in folder.maps_by_radiograph() for m in maps) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    grid = np.random.default_rng(0).random((200, 200), np.float32)
    for count in (5, 200):
        for radiograph in data.radiographs[:count]:
            (tmp_path / str(count)).mkdir(exist_ok=True)
            np.savez(tmp_path / str(count) / f"{radiograph.id}_Edema.npz", map=grid)
    peak(5)
    assert peak(200) < 1.1 * peak(5) + 200_000


def test_order_access_and_passing_to_another_process(tmp_path: Path) -> None:
    for source in ("b", "a"):
        for radiograph in ("p 2", "p1"):
            for finding in ("Pleural Effusion", "Edema"):
                write_npz(tmp_path / source / f"{radiograph}_{finding}.npz", map=GRID)
    data = Dataset("tiny", "tiny:", FINDINGS, [Radiograph(r, r, list, size=SIZE) for r in ("p1", "p 2")], list)
    folder = open_maps(tmp_path, data)
    order = [(s, f) for s in ("a", "b") for f in ("Edema", "Pleural Effusion")]
    for opened in (folder, pickle.loads(pickle.dumps(folder))):
        assert len(opened) == 8
        assert opened.sources == {"a": ("Edema", "Pleural Effusion"), "b": ("Edema", "Pleural Effusion")}
        for _ in range(2):
            assert [(r, [(m.source, m.finding) for m in maps]) for r, maps in opened.maps_by_radiograph()] == [
                ("p1", order),
                ("p 2", order),
            ]
    assert folder.find("a", "p1", "Lung Opacity") is None and folder.find("a", "p9", "Edema") is None
    assert list(folder.maps_for("p9")) == []
    assert not isinstance(folder, Iterable)  # or it would be gathered in memory


@pytest.mark.skipif(not REAL.is_dir(), reason="no CheXlocalize sample in shared/data")
def test_published_maps_score_as_published(tmp_path: Path) -> None:
    data = sl.open_dataset(f"chexlocalize:{REAL}")
    folder = open_maps(REAL / "CheXlocalize/gradcam_maps_val", data)
    assert len(folder) == 10 and folder.problems == ()
    table = (
        sl.score(folder, data, ["iou", "pointing-game"], protocol="both")
        .set_index(["protocol", "metric", "finding"])
        .value
    )
    findings = ["Cardiomegaly", "Enlarged Cardiomediastinum", "Lung Opacity"]
    expected = {("published", "iou"): [0.3662, 0.4623, 0], ("corrected", "iou"): [0.4569, 0.5205, 0.0022]}
    for key, values in (expected | {("published", "pointing-game"): [1, 1, 0]}).items():
        np.testing.assert_allclose([table[(*key, f)] for f in findings], values, atol=0.001)


def test_reading_maps_needs_no_torch(tmp_path: Path) -> None:
    write_pickle(tmp_path / "p1_Edema_map.pkl")
    code = (
        "import sys, sightline.maps.folder, sightline.maps.formats.safe_pickle as p\n"
        f"p.load({str(tmp_path / 'p1_Edema_map.pkl')!r})\n"
        "sys.exit(bool({'torch', 'zarr', 'nibabel', 'pydicom'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

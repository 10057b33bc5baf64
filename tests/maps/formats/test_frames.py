"""Where a map lies, whose it is and what kind: told by the caller, the file or a sidecar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mapmaking import DATA, FINDINGS, GRID, SIZE, assert_holds, open_one, write_npz, write_pickle
from sightline.core import Annotation, Array, Dataset, Frame, Radiograph
from sightline.errors import DataError
from sightline.imaging.geometry import input_frame
from sightline.maps.folder import open_maps


def test_where_a_map_lies_is_told_by_the_caller_then_its_box_then_the_sidecar(tmp_path: Path) -> None:
    write_npz(tmp_path / "p1_Edema.npz", map=GRID)
    write_npz(tmp_path / "p1_Lung Opacity.npz", map=GRID, box=(0, 0, 5, 5))
    write_pickle(tmp_path / "p1_Pleural Effusion_map.pkl", "Pleural Effusion")

    def boxes(**options: Any) -> list[Frame]:
        opacity, edema, effusion = open_maps(tmp_path, DATA, **options).maps_for("p1")
        return [opacity.frame, edema.frame, effusion.frame]

    own, whole = Frame(SIZE, (0, 0, 5, 5)), Frame.whole(SIZE)
    cropped, padded = (input_frame(SIZE, 24, how)[1] for how in ("center-crop", "pad"))
    assert boxes() == [own, whole, input_frame(SIZE, 320, "center-crop")[1]]
    (tmp_path / "maps.json").write_text(json.dumps({"resize": "center-crop", "side": 24}))
    assert boxes() == [own, cropped, cropped]
    assert boxes(resize="pad:24") == [padded] * 3
    (tmp_path / "maps.json").write_text(json.dumps({"resize": "stretch"}))
    assert boxes() == [own, whole, whole]


def test_folders_name_sources(tmp_path: Path) -> None:
    root = tmp_path / "theirs"
    for name in ("densenet/grad-cam/p1_Edema", "densenet/ig/p1_Edema", "vit/p1/Edema", "p1_Edema"):
        write_npz(root / f"{name}.npz", map=GRID)
    assert [*open_maps(root, DATA).sources] == ["densenet/grad-cam", "densenet/ig", "theirs", "vit"]
    assert [*open_maps(root, DATA, "x").sources] == ["x", "x/densenet/grad-cam", "x/densenet/ig", "x/vit"]
    (root / "vit/maps.json").write_text(json.dumps({"source": "vit-b/rollout"}))
    (root / "maps.json").write_text(json.dumps({"source": "ours"}))
    assert [*open_maps(root, DATA).sources] == ["ours", "ours/densenet/grad-cam", "ours/densenet/ig", "vit-b/rollout"]
    assert [m.source for m in open_maps(root, DATA, "x").maps_for("p1")] == [*open_maps(root, DATA, "x").sources]


def test_one_file_and_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_npz(tmp_path / "maps" / "p1_Edema.npz", map=GRID)
    monkeypatch.chdir(tmp_path / "maps")
    for path in (file, tmp_path / "maps", Path(), Path("../maps"), Path("p1_Edema.npz")):
        assert open_one(path).source == "maps"
    assert open_one(file, source="reader/second").source == "reader/second"


def test_masks(tmp_path: Path) -> None:
    Image.fromarray(np.uint8([[0, 255], [3, 0]])).save(tmp_path / "p1_Edema.png")
    (tmp_path / "maps.json").write_text('{"kind": "mask"}')
    m = open_one(tmp_path)
    assert m.kind == "mask"
    assert_holds(m, np.array([[0, 1], [1, 0]]), Frame.whole(SIZE))


@pytest.mark.parametrize(
    "said",
    [
        '{"resize": "center-crop"}',
        '{"resize": "squash", "side": 3}',
        '{"resize": "pad", "side": -3}',
        '{"resize": "pad", "side": true}',
        '{"side": 3}',
        '{"kind": "heat"}',
        '{"kind": []}',
        '{"source": ""}',
        '{"sauce": "x"}',
        "[1]",
        "{",
        "[" * 100_000,
    ],
)
def test_a_sidecar_that_says_nothing_usable(tmp_path: Path, said: str) -> None:
    (tmp_path / "maps.json").write_text(said)
    with pytest.raises(DataError, match=r"maps\.json"):
        open_maps(tmp_path, DATA)


@pytest.mark.parametrize(
    "frame", ["", "crop", "center-crop", "pad:", "pad:0", "pad:-1", "pad:1e3", "pad:²", "pad:9999999"]
)
def test_a_frame_that_is_none(tmp_path: Path, frame: str) -> None:
    with pytest.raises(DataError, match="'center-crop:SIDE'"):
        open_maps(tmp_path, DATA, resize=frame)


@pytest.mark.parametrize(
    "box", [(5, 0, 5, 9), (0, 0, -1, 5), (0, 0, np.nan, 5), (0, 0, 9), (30, 0, 40, 9), (0, -9, 9, 0)]
)
def test_a_box_that_is_none(tmp_path: Path, box: Any) -> None:
    write_npz(tmp_path / "p1_Edema.npz", map=GRID, box=np.array(box, float))
    m = open_one(tmp_path)
    assert m.status in ("unreadable", "refused") and "p1_Edema.npz" in m.reason


def test_size_is_taken_from_marks_then_the_header_then_the_file_then_the_pixels(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    write_pickle(maps / "p1_Edema_map.pkl", cxr_dims=(40, 30))
    write_npz(maps / "p1_Lung Opacity.npz", map=GRID)
    image = tmp_path / "image.png"

    def missing() -> Array:
        raise DataError("no such image")

    def frames(read: Callable[[], Array], marked: bool = False, **facts: Any) -> list[tuple[str, tuple[int, int]]]:
        mark = Annotation("p1", "Edema", "truth", "region", (60, 80), missing)
        radiograph = Radiograph("p1", "p1", read, metadata=facts)
        data = Dataset("d", "d", FINDINGS, [radiograph], lambda *_: mark if marked else None, ("truth",))
        return [(m.status, m.frame.size) for m in open_maps(maps, data).maps_for("p1")]

    assert frames(missing) == [("refused", (0, 0)), ("ok", (30, 40))]
    assert frames(lambda: np.zeros((30, 40))) == [("ok", (30, 40))] * 2
    assert frames(missing, path=str(image)) == [("refused", (0, 0)), ("ok", (30, 40))]
    Image.new("L", (40, 30)).save(image)
    assert frames(missing, path=str(image)) == [("ok", (30, 40))] * 2
    assert frames(missing, marked=True) == [("ok", (60, 80)), ("refused", (60, 80))]

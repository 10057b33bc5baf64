"""Every file of a run's site, and that it says what the run says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from sightline.core import STATUSES
from sightline.errors import RunError, UnknownNameError
from sightline.runs.run import Run
from sightline.web.server.encoding import decode_bundle
from sightline.web.server.security import secure
from sightline.web.viewer.column_store import NO_MAP
from sightline.web.viewer.server import make_app, view, write_site
from sightline.web.viewer.site import Site

from .conftest import FINDINGS, HOSTILE, ODD, SIZE, SOURCES, disk, has, id_of, read


@pytest.fixture(scope="module")
def site(run: Run) -> Site:
    return Site.from_run(run)


@pytest.fixture(scope="module")
def client(site: Site) -> TestClient:
    return TestClient(secure(make_app(site)), base_url="http://localhost", raise_server_exceptions=False)


def index(site: Site) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(site.render_file("data/index.json")[0])
    return told


def column(site: Site, name: str, dtype: str) -> np.ndarray:
    return np.frombuffer(site.render_file(f"data/{name}")[0], dtype)


def test_columns_are_the_scores_of_the_table(site: Site, run: Run) -> None:
    told = index(site)
    ids = decode_bundle(site.render_file("data/cases.bin")[0])[0]["radiographs"]
    scores = run.table("scores")
    assert sum(c["n"] for c in told["columns"]) == scores["value"].notna().sum()
    for (protocol, metric, source), rows in scores.groupby(["protocol", "metric", "source"]):
        file = next(
            c["file"]
            for c in told["columns"]
            if (c["protocol"], c["metric"], c["source"]) == (protocol, metric, source)
        )
        values = column(site, f"columns/{file}.f32", "<f4")
        expected = np.full(len(ids) * len(FINDINGS), np.nan, np.float32)
        places = [ids.index(r) * len(FINDINGS) + FINDINGS.index(f) for r, f in zip(rows["radiograph"], rows["finding"])]
        expected[places] = rows["value"].to_numpy(np.float32)
        assert np.array_equal(values, expected, equal_nan=True)
        some = np.frombuffer(site.render_file("data/scores/3.bin")[0], "<f4").reshape(-1, len(FINDINGS))
        assert np.array_equal(some[file], expected.reshape(-1, len(FINDINGS))[3], equal_nan=True)


def test_status_probability_and_labels(site: Site, run: Run) -> None:
    told, ledger = index(site), run.table("maps")
    ids = decode_bundle(site.render_file("data/cases.bin")[0])[0]["radiographs"]
    for number, source in enumerate(s["name"] for s in told["sources"]):
        rows = ledger[ledger["source"] == source]
        status = np.full(len(ids) * len(FINDINGS), NO_MAP)
        places = [ids.index(r) * len(FINDINGS) + FINDINGS.index(f) for r, f in zip(rows["radiograph"], rows["finding"])]
        status[places] = [STATUSES.index(s) for s in rows["status"]]
        assert (column(site, f"status/{number}.bin", "u1") == status).all()
        probability = column(site, f"probability/{number}.bin", "<f4")
        assert np.allclose(probability[places], rows["probability"].to_numpy(float), equal_nan=True)
    arrays = decode_bundle(site.render_file("data/cases.bin")[0])[1]
    assert arrays["label"].tolist() == [int(has(n, f)) for n in range(10) for f in FINDINGS]
    assert arrays["annotated"].tolist() == arrays["label"].tolist()
    assert np.allclose(arrays["area"][0], disk(0, "Edema").mean())


def test_failures_are_counted_and_told(site: Site) -> None:
    failed = {(f["source"], f["status"]): f["maps"] for f in index(site)["failed"]}
    assert failed == {("net/cam", "flat"): 1, ("other/cam?a=1,b=2", "refused"): 3}
    rows = json.loads(site.render_file("data/failures.json")[0])
    assert [2 * 3, 0, "flat", "every value is 0"] in rows
    assert len(rows) == 4


def test_films_and_marks_are_the_data_sets(site: Site) -> None:
    pixels = np.asarray(Image.open(BytesIO(site.render_file("data/film/4.png")[0]))).astype(int)
    assert (256 * pixels[..., 0] + pixels[..., 1] == np.rint(read(4) * 65535)).all()
    fields, arrays = decode_bundle(site.render_file("data/marks/4.bin")[0])
    assert [r["name"] for r in fields["regions"]] == ["Heart"]
    assert {(m["finding"], m["reader"]) for m in fields["marks"]} == {
        (f, r) for f in FINDINGS if has(4, f) for r in ("truth", "second", "points")
    }
    for mark in fields["marks"]:
        if mark["reader"] == "truth":
            runs = arrays[mark["runs"]]
            assert (np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(SIZE) == disk(4, mark["finding"])).all()
    assert arrays[fields["gaze"][0]["fixations"]].shape == (20, 6)


def test_maps_are_bit_for_bit_those_of_the_run(site: Site, run: Run) -> None:
    for number in (0, 1, 7):
        for f, finding in enumerate(FINDINGS):
            fields, arrays = decode_bundle(site.render_file(f"data/maps/{number}-{f}.bin")[0])
            stored = list(run.maps_for(id_of(number), finding=finding))
            assert [m["source"] for m in fields["maps"][: len(stored)]] == [m.source for m in stored]
            for i, m in enumerate(stored):
                assert np.array_equal(arrays[f"m{i}"], m.values)
                assert fields["maps"][i]["box"] == list(m.frame.box)
            others = {m["source"] for m in fields["maps"][len(stored) :]}
            assert others == ({"control/center", "control/edges"} if has(number, finding) else set())


def test_previews_are_small(site: Site) -> None:
    fields, arrays = decode_bundle(site.render_file("data/preview/0.bin")[0])
    assert max(max(a.shape, default=0) for a in arrays.values()) <= 28
    assert set(fields["truth"]) == {f for f in FINDINGS if has(0, f)}
    assert {m["source"] for m in fields["maps"]} >= set(SOURCES)


@pytest.mark.parametrize(
    "name",
    [
        "data/../run.json",
        "data/film/../../run.json",
        "data/film/99.png",
        "data/film/-1.png",
        "data/maps/0-9.bin",
        "data/columns/999.f32",
        "app/../site.py",
        "web/../guard.py",
        "app/nothing.js",
        "/etc/passwd",
        "run.json",
        "data/film/٣.png",
        "data/index.json\n",
        "",
        "data",
        "data/scores/99.bin",
        "data/film/0.jpg",
        "data/film/0.bin",
    ],
)
def test_no_other_name_is_a_file(site: Site, name: str) -> None:
    with pytest.raises((UnknownNameError, KeyError)):
        site.render_file(name)


@pytest.mark.parametrize(
    "path",
    ["/../run.json", "/%2e%2e/run.json", "/data/%2e%2e/%2e%2e/run.json", "/data//etc/passwd", "/app/..%2fsite.py"],
)
def test_no_path_leads_out(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "fingerprint" not in answer.text
    assert "error" in answer.json()


def test_answers_may_be_kept_as_long_as_the_run_stays_the_same(client: TestClient, site: Site) -> None:
    stamped = client.get(f"/data/cases.bin?v={site.stamp}")
    assert "immutable" in stamped.headers["cache-control"]
    plain = client.get("/data/cases.bin?v=old")
    assert plain.headers["cache-control"] == "private, no-cache"
    again = client.get("/data/cases.bin", headers={"if-none-match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assert client.post("/data/index.json").status_code == 405


def test_the_first_page_holds_no_inline_script_or_style(client: TestClient) -> None:
    text = client.get("/").text
    assert "<style" not in text
    assert " style=" not in text
    assert text.count("<script") == text.count('<script type="module" src=')


def test_columns_are_made_once_and_anew_when_the_run_changes(build_run: Callable[..., Run]) -> None:
    run = build_run(count=2)
    first = Site.from_run(run)
    before = (first.folder / "data" / "index.json").stat().st_mtime_ns
    assert (Site.from_run(run).folder / "data" / "index.json").stat().st_mtime_ns == before
    run.write_table("scores", run.table("scores")[::2])
    assert Site.from_run(Run.open(run.path)).stamp != first.stamp
    assert not list(run.path.glob(".view-*"))


def test_a_run_without_scores_shows_its_maps(build_run: Callable[..., Run]) -> None:
    site = Site.from_run(build_run(count=3, scored=False))
    told = index(site)
    assert told["columns"] == []
    assert told["findings"] == list(FINDINGS)
    assert {f["status"]: f["maps"] for f in told["failed"]} == {"flat": 1, "refused": 3}
    for name in site.file_names():
        site.render_file(name)


def test_a_run_whose_data_is_gone_shows_the_rest(build_run: Callable[..., Run]) -> None:
    run = build_run(count=3)
    data = {**run.info["dataset"], "spec": "folder:/nowhere"}
    site = Site.from_run(run.update_info(dataset=data))
    told = index(site)
    assert "cannot be shown" in told["notes"][0]
    assert "/nowhere" in told["notes"][0]
    assert not told["films"]
    assert decode_bundle(site.render_file("data/cases.bin")[0])[0]["patients"] == ["p0", "p1"]
    assert not [n for n in site.file_names() if "/film/" in n]
    assert decode_bundle(site.render_file("data/maps/0-0.bin")[0])[0]["maps"]
    with pytest.raises(UnknownNameError, match="not available"):
        site.render_file("data/film/0.png")


def test_a_run_folder_that_may_not_be_written_to(
    build_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sightline.web.viewer.column_store as columns

    run = build_run(count=2)
    real = columns.tempfile.mkdtemp

    def refused(*args: Any, dir: Path | None = None, **kwargs: Any) -> str:
        if dir is not None:
            raise PermissionError(13, "no")
        return real(*args, **kwargs)

    monkeypatch.setattr(columns.tempfile, "mkdtemp", refused)
    site = Site.from_run(run)
    assert not (run.path / "view").exists()
    assert index(site)["columns"]
    shutil.rmtree(site.folder)


def test_an_empty_run_is_told(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "run", "localization", {})
    with pytest.raises(RunError, match="neither maps nor scores"):
        Site.from_run(run)
    assert not list(run.path.glob(".view-*"))


def test_export_writes_the_same_files_and_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    written = write_site(site, folder)
    names = list(site.file_names())
    assert written == len(names) == len([p for p in folder.rglob("*") if p.is_file()])
    for name in names:
        assert (folder / name).read_bytes() == site.render_file(name)[0], name
    (folder / "data" / "film" / "0.png").unlink()
    assert write_site(site, folder) == 1 + len([n for n in names if not n.startswith("data/")])
    assert ODD not in " ".join(names)


def test_export_refuses_a_folder_of_other_things(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="holds other files"):
        view(run.path, export=tmp_path)


def test_export_by_command(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view(run.path, export=tmp_path / "site")
    assert "python -m http.server" in capsys.readouterr().out
    assert HOSTILE in json.loads((tmp_path / "site" / "data" / "index.json").read_text())["findings"]

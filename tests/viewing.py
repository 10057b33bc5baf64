"""What every study's run must let the viewer do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sightline.runs.run import Run
from sightline.web.server.encoding import decode_bundle
from sightline.web.viewer.site import Site


def can_be_looked_at(path: Path) -> None:
    """A run opens in the viewer: names, columns, a film, marks and maps are there and agree with its tables."""
    run = Run.open(path)
    site = Site.from_run(run)
    index = json.loads(site.render_file("data/index.json")[0])
    assert index["films"]
    assert not index["notes"]
    assert {s["name"] for s in index["sources"]} >= set(run.sources)
    scores = run.table("scores", ["protocol", "metric", "source", "value"])
    assert sum(c["n"] for c in index["columns"]) == scores["value"].notna().sum()
    fields, arrays = decode_bundle(site.render_file("data/cases.bin")[0])
    assert set(fields["radiographs"]) >= set(run.table("scores", ["radiograph"])["radiograph"])
    known = next(i for i, place in enumerate(arrays["place"].tolist()) if place >= 0)
    for kind, suffix in (("film", "png"), ("thumb", "jpg"), ("preview", "bin"), ("marks", "bin"), ("scores", "bin")):
        assert site.render_file(f"data/{kind}/{known}.{suffix}")[0]
    maps = [
        m
        for f in range(len(index["findings"]))
        for m in decode_bundle(site.render_file(f"data/maps/{known}-{f}.bin")[0])[0]["maps"]
    ]
    stored = {m.source for m in run.maps_for(fields["radiographs"][known])}
    assert maps
    assert {m["source"] for m in maps} >= stored
    assert np.isfinite(np.frombuffer(site.render_file("data/columns/0.f32")[0], "<f4")).any()

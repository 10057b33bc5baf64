"""The average annotation of training data, against a mean computed image by image."""

from __future__ import annotations

import numpy as np
import pytest

from sightline.data import open_dataset
from sightline.errors import DataError
from sightline.evaluation.prior import open_prior, prior_source
from sightline.imaging.masks import rasterize_annotation
from sightline.maps.references import PriorMaps

TRAIN, TEST = "phantom:50?size=48&split=train", "phantom:50?size=48&split=test"


def test_the_prior_is_the_mean_of_the_training_annotations_alone() -> None:
    data, train = open_dataset(TEST), open_dataset(TRAIN)
    finding = "Cardiomegaly"
    prior = open_prior(data, train, [finding, "Lung Opacity"])
    masks = [
        rasterize_annotation(annotation)
        for radiograph in train.radiographs
        if (annotation := train.annotation(radiograph.id, finding, train.reference_reader)) is not None
    ]
    assert prior.counts[finding] == len(masks) > 0
    maps = [m for r in data.radiographs for m in prior.maps_for(r.id) if m.finding == finding]
    shown = [r for r in data.radiographs if data.annotation(r.id, finding, data.reference_reader) is not None]
    assert [m.radiograph for m in maps] == [r.id for r in shown] and shown
    assert {m.source for m in maps} == {f"control/average-mask?prior={TRAIN}"} == {prior_source(TRAIN)}
    assert all(np.array_equal(m.values, maps[0].values) for m in maps), "it knows nothing of the image"
    assert maps[0].values.mean() == pytest.approx(np.mean([mask.mean() for mask in masks]), abs=1e-3)
    inside = rasterize_annotation(data.annotation(shown[0].id, finding, data.reference_reader))
    assert maps[0].frame.size == inside.shape and maps[0].frame.is_whole


def test_it_answers_for_annotated_findings_only_and_never_for_shared_patients() -> None:
    data, train = open_dataset(TEST), open_dataset(TRAIN)
    nobody = PriorMaps(data, train, "control/x", ("Cardiomegaly", "Nowhere"))
    assert nobody.sources == {"control/x": ("Cardiomegaly",)} and nobody.counts["Nowhere"] == 0
    with pytest.raises(DataError, match="has no annotation of Nowhere to average"):
        PriorMaps(data, train, "control/x", ("Nowhere",))
    with pytest.raises(DataError, match="the average mask learned from"):
        open_prior(data, open_dataset("phantom:16?size=48"))

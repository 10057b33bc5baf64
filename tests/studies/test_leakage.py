"""Patients, not names of files, decide what was held out; of every study alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sightline as sl
from sightline.core import Dataset
from sightline.data.patients import require_disjoint_patients
from sightline.errors import DataError
from sightline.models.checkpoint import save_checkpoint
from sightline.models.training_record import TrainingRecord
from sightline.studies.gaze import gaze
from sightline.studies.leakage import require_held_out, training_patients
from sightline.studies.localization import localization
from sightline.studies.pretraining import pretraining
from sightline.training.labels import shuffle_labels

DATA = "phantom:16?size=64"


def renamed(data: Dataset) -> Dataset:
    """The same patients, whose images have other names."""
    return replace(data, radiographs=tuple(replace(r, id=f"{r.id}-again") for r in data.radiographs))


def test_a_patient_under_another_name_of_the_image_was_seen() -> None:
    data = sl.open_dataset(DATA)
    with pytest.raises(DataError, match=r"the cutoffs learned from phantom:16\?size=64, and (\d+) of the \1 patients"):
        require_disjoint_patients("the cutoffs", data.spec, {r.patient for r in data.radiographs}, renamed(data))


def test_of_another_folder_the_same_name_is_another_person() -> None:
    data = sl.open_dataset(DATA)
    patients = {r.patient for r in data.radiographs}
    require_disjoint_patients("the networks", "phantom:16?size=64&seed=1", patients, data)
    require_disjoint_patients("the networks", "nih:elsewhere", patients, data)


def test_what_is_split_off_for_the_test_is_not_learned() -> None:
    data = sl.open_dataset(DATA)
    test = {r.patient for r in data.radiographs if r.split == "test"}
    assert test and training_patients(data) == {r.patient for r in data.radiographs} - test


def test_networks_trained_on_shuffled_labels_saw_the_same_patients() -> None:
    data = sl.open_dataset(DATA)
    record = TrainingRecord(DATA, derived=shuffle_labels(data, 3).derived)
    model = replace(sl.open_model("small?side=48&width=8", data.findings), training_record=record)
    assert record.description == "phantom:16?size=64; labels shuffled, seed 3"
    with pytest.raises(DataError, match=r"learned from phantom:16\?size=64, and \d+ of the \d+ patients"):
        require_held_out([model], data)
    require_held_out([model], replace(data, radiographs=[r for r in data.radiographs if r.split == "test"]))


def test_no_study_explains_what_its_network_learned(tmp_path: Path) -> None:
    model = sl.open_model("small?side=48&width=8", sl.open_dataset(DATA).findings)
    save_checkpoint(replace(model, training_record=TrainingRecord(DATA, seed=0)), tmp_path / "mine.pt")
    mine = str(tmp_path / "mine.pt")
    with pytest.raises(DataError, match=r"learned from phantom:16\?size=64, and \d+ of the \d+ patients"):
        localization(data="phantom:8?size=96", model=(mine,), out=tmp_path / "localization")
    with pytest.raises(DataError, match="the networks learned from"):
        pretraining(train_data=DATA, data="phantom:8?size=96", out=tmp_path / "pretraining")
    with pytest.raises(DataError, match="the cutoffs learned from"):
        gaze(
            data="phantom:8?size=64&start=500",
            model=mine,
            validation_data="phantom:4?size=64&start=500",
            max_radiographs=4,
            methods=("grad-cam",),
            out=tmp_path / "gaze",
        )

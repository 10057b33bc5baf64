"""Tables of what models predict for the findings of every radiograph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.special import expit

from sightline._util.rng import key_digest
from sightline.core import NAN, Dataset, Radiograph
from sightline.methods.inference import Batch, compute_logits, make_batch
from sightline.models import Model
from sightline.runs.chunks import ChunkedTask, schema_for, write_chunks
from sightline.runs.run import Run

CHUNK_SIZE = 32
"""Radiographs that are read together."""


class Prediction(NamedTuple):
    """Prediction of a finding on a radiograph by a model."""

    model: str
    """Name of the model."""
    radiograph: str
    patient: str
    study: str
    finding: str
    probability: float
    """Predicted probability of the finding; NaN where the image could not be read."""
    label: float
    """Label of the data set: 1, 0, -1 (uncertain) or NaN (blank)."""


def predict(
    run: Run, data: Dataset, models: Sequence[Model], findings: Sequence[str], table: str = "predictions"
) -> None:
    """Write a table with the predictions of several models; each radiograph is read once for all of them.

    Parameters
    ----------
    run : Run
        The run that gets the table, locked by the caller.
    data : Dataset
        The radiographs.
    models : sequence of Model
        Models that have all of the findings.
    findings : sequence of str
        Findings to predict.
    table : str
        Name of the table.
    """

    def predict_chunk(radiographs: Sequence[Radiograph]) -> dict[str, list[Prediction]]:
        batches: dict[tuple[int, str], Batch | None] = {}
        rows: list[Prediction] = []
        for model in models:
            input_format = (model.side, model.resize)
            if input_format not in batches:
                batches[input_format] = make_batch(model, radiographs)
            rows += _predict_batch(model, batches[input_format], radiographs, findings)
        return {table: rows}

    folder = key_digest(*(m.name for m in models)).hex()[:8]
    task = ChunkedTask("computing predictions", data.radiographs, predict_chunk, CHUNK_SIZE, folder)
    write_chunks(run, table, {table: schema_for(Prediction)}, task)


def _predict_batch(
    model: Model, batch: Batch | None, radiographs: Sequence[Radiograph], findings: Sequence[str]
) -> list[Prediction]:
    columns = [model.index(finding) for finding in findings]
    probabilities: dict[str, list[float]] = {}
    if batch is not None:
        x = model.normalize(torch.from_numpy(batch.images)).to(model.device)
        computed = expit(compute_logits(model, x)[:, columns])
        probabilities = dict(zip(batch.ids, computed.tolist(), strict=True))
    rows = []
    for r in radiographs:
        values = probabilities.get(r.id, [NAN] * len(columns))
        for finding, probability in zip(findings, values, strict=True):
            label = r.labels.get(finding, NAN)
            rows.append(Prediction(model.name, r.id, r.patient, r.study or r.id, finding, probability, label))
    return rows

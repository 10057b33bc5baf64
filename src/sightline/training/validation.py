"""Validation of a classifier: probabilities, losses and AUROC on the validation radiographs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import expit

from sightline.core import Array
from sightline.errors import SightlineError
from sightline.metrics.classification import auroc
from sightline.models import Model, study_probabilities
from sightline.training.distributed import ProcessGroup
from sightline.training.examples import Examples


def validate(
    process_group: ProcessGroup, model: Model, examples: Examples, batch_size: int
) -> tuple[Array, dict[str, float]]:
    """Compute the probabilities and AUROC of a network on the validation rows.

    Parameters
    ----------
    process_group
        Processes that share the rows.
    model
        Model to validate; its network is left in evaluation mode.
    examples
        Images and labels.
    batch_size
        Images per batch.

    Returns
    -------
    probabilities : (V, F)
        Probabilities of the V validation rows.
    aurocs : dict of str to float
        AUROC of each finding over studies; NaN if undefined.

    Raises
    ------
    SightlineError
        If logits are not finite.
    """
    model.net.eval()
    logits = torch.zeros((len(examples.val), len(model.findings)), device=model.device)
    with torch.inference_mode():
        for rows in process_batches(process_group, len(examples.val), batch_size):
            images = examples.load_images(examples.val[rows])
            logits[rows] = model.net(model.normalize(images.to(model.device))).float()
    scores = process_group.sum_over_processes(logits).double().cpu().numpy()  # (V, F)
    if not np.isfinite(scores).all():
        raise SightlineError("the network's logits are no longer finite; train with a smaller lr, in a new folder")
    probabilities: Array = expit(scores)
    labels = examples.labels[examples.val]
    return probabilities, compute_study_aurocs(probabilities, labels, examples.studies, model.findings)


def process_batches(process_group: ProcessGroup, count: int, batch_size: int) -> Iterator[slice]:
    """Yield the batches of rows that this process computes.

    Parameters
    ----------
    process_group
        Processes that share the rows.
    count
        Number of rows.
    batch_size
        Rows per batch.

    Yields
    ------
    slice
        Rows of a batch.
    """
    for start in range(process_group.rank * batch_size, count, process_group.size * batch_size):
        yield slice(start, start + batch_size)


def compute_study_aurocs(
    probabilities: Array, labels: Array, studies: tuple[tuple[str, str], ...], findings: tuple[str, ...]
) -> dict[str, float]:
    """Compute the AUROC of the highest probability and label among the views of each study.

    Parameters
    ----------
    probabilities : (V, F)
        Probabilities of radiographs.
    labels : (V, F)
        1, 0, or NaN for unknown.
    studies
        Patient and study of each row.
    findings
        Names of the F findings.

    Returns
    -------
    dict of str to float
        AUROC of each finding; NaN if undefined.
    """
    if not studies:
        return dict.fromkeys(findings, math.nan)
    _, scores = study_probabilities(probabilities, studies)
    known = np.isfinite(labels)
    _, truth = study_probabilities(np.where(known, labels, -1.0), studies)  # -1: no view has a label
    truth[truth < 0] = np.nan
    return {finding: auroc(scores[:, i], truth[:, i]) for i, finding in enumerate(findings)}


def mean_auroc(aurocs: dict[str, float], selection_findings: tuple[str, ...]) -> float:
    """Average the AUROC of selected findings.

    Parameters
    ----------
    aurocs
        AUROC of each finding, NaN if undefined.
    selection_findings
        Findings to average.

    Returns
    -------
    float
        Mean of those that are defined; NaN if none is.
    """
    values = [aurocs[f] for f in selection_findings if f in aurocs and not math.isnan(aurocs[f])]
    return float(np.mean(values)) if values else math.nan


def cross_entropy(probabilities: Array, labels: Array) -> float:
    """Compute the mean binary cross-entropy over the labels that are 0 or 1.

    Parameters
    ----------
    probabilities, labels : (V, F)
        Probabilities and labels of the validation rows.

    Returns
    -------
    float
        Loss; NaN without any label.
    """
    known = np.isin(labels, (0, 1))
    p = np.clip(np.where(labels == 1, probabilities, 1 - probabilities)[known], 1e-7, 1)
    return float(-np.log(p).mean()) if p.size else math.nan

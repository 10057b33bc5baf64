"""The average annotation of training data as a control, of other patients than those that are scored."""

from __future__ import annotations

from collections.abc import Sequence

from sightline.core import Dataset, Source
from sightline.data.patients import require_disjoint_patients
from sightline.maps.references import PriorMaps


def prior_source(spec: str) -> str:
    """Name the control of a data set whose annotations are averaged.

    Parameters
    ----------
    spec
        Spec of the training data.

    Returns
    -------
    str
        'control/average-mask?prior=SPEC'.
    """
    return str(Source("control", "", f"average-mask?prior={spec}"))


def open_prior(data: Dataset, prior: Dataset, findings: Sequence[str] = ()) -> PriorMaps:
    """Average the annotations of training data, whose patients must not be scored.

    Parameters
    ----------
    data
        Data set that is scored.
    prior
        Training data.
    findings
        Findings to average; all of the data set by default.

    Returns
    -------
    PriorMaps
        The control.

    Raises
    ------
    DataError
        If a patient is in both, or if the training data annotate none of the findings.
    """
    patients = {radiograph.patient for radiograph in prior.radiographs}
    require_disjoint_patients("the average mask", prior.spec, patients, data)
    return PriorMaps(data, prior, prior_source(prior.spec), tuple(findings))

"""Titles of methods and metrics in figures and sentences."""

from __future__ import annotations

from sightline.core import Source
from sightline.errors import UnknownNameError
from sightline.metrics.registry import parse_metric

_METHOD_TITLES = {
    "grad-cam": "Grad-CAM",
    "grad-cam++": "Grad-CAM++",
    "hires-cam": "HiResCAM",
    "layer-cam": "LayerCAM",
    "cam": "CAM",
    "xgrad-cam": "XGrad-CAM",
    "eigen-cam": "Eigen-CAM",
    "ablation-cam": "Ablation-CAM",
    "score-cam": "Score-CAM",
    "guided-grad-cam": "Guided Grad-CAM",
    "gradient": "Gradient",
    "input-x-gradient": "Input × gradient",
    "smoothgrad": "SmoothGrad",
    "smoothgrad-squared": "SmoothGrad²",
    "vargrad": "VarGrad",
    "smooth-ig": "Smooth IG",
    "guided-backprop": "Guided backpropagation",
    "deconvnet": "DeconvNet",
    "deeplift": "DeepLIFT",
    "integrated-gradients": "Integrated Gradients",
    "gradient-shap": "GradientSHAP",
    "deepshap": "DeepSHAP",
    "lrp": "LRP",
    "occlusion": "Occlusion",
    "rise": "RISE",
    "xrai": "XRAI",
    "blur-ig": "Blur IG",
    "layer-conductance": "Layer conductance",
    "attention-rollout": "Attention rollout",
    "attention-relevance": "Attention relevance",
    "average-mask": "average mask",
    "guided-ig": "Guided IG",
    "image-text": "Image–text similarity",
    "intrinsic": "Intrinsic map",
    "average-gaze": "average gaze",
    "gaze-elsewhere": "gaze at another radiograph",
}
"""Name of a method -> its title; other methods are called by their name."""


def metric_title(metric: str) -> str:
    """Return the title of a metric.

    Parameters
    ----------
    metric : str
        Name of the metric.

    Returns
    -------
    str
        The title; the name itself if the metric is not registered.
    """
    try:
        entry, binarizer = parse_metric(metric)
    except UnknownNameError:
        return metric
    return f"{entry.info.title} ({binarizer})" if binarizer else entry.info.title


def higher_is_better(metric: str) -> bool:
    """Return True if a higher score is better.

    Parameters
    ----------
    metric : str
        Name of the metric.

    Returns
    -------
    bool
        True as well for a metric that is not registered.
    """
    try:
        return parse_metric(metric)[0].info.higher_is_better
    except UnknownNameError:
        return True


def is_score(metric: str) -> bool:
    """Return True if a metric judges maps, and is not a level beside which scores are read.

    Parameters
    ----------
    metric : str
        Name of the metric.

    Returns
    -------
    bool
        True as well for a metric that is not registered.
    """
    try:
        return parse_metric(metric)[0].info.is_score
    except UnknownNameError:
        return True


def source_title(source: Source, is_untrained: bool, is_simulated: bool, readers: int = 0) -> str:
    """Return the name of a source in figures and sentences.

    Parameters
    ----------
    source : Source
        The source.
    is_untrained : bool
        Whether its model is untrained.
    is_simulated : bool
        Whether the readers of the run are simulated.
    readers : int
        Number of readers behind a mean over readers; 0 for every other source.

    Returns
    -------
    str
        The name.
    """
    if readers:
        noun = "simulated readers" if is_simulated else "readers"
        return f"mean of {readers} {noun}{' (points)' if source.method == 'points' else ''}"
    if source.kind == "reader":
        name = source.name.removeprefix("simulated").strip(" -_") or "reader"
        return f"simulated {name}" if is_simulated else name
    name, _, options = source.method.partition("?")
    method = _METHOD_TITLES.get(name, name) + (f" ({options})" if options else "")
    if source.kind == "control":
        return f"control: {' '.join(filter(None, [*source.model.split('/'), method]))}"
    if source.kind in ("ceiling", "localizer"):
        return f"{source.kind}: {source.model or source.method}"
    return f"{method} · {source.model}{' (untrained)' if is_untrained else ''}" if source.model else method

"""Tables that compare all pairs of maps of a scored run, and networks over their trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.core import Source
from sightline.evaluation.score_table import ScoreTable
from sightline.protocol import Protocol
from sightline.stats.comparison import compare, rank_sources, select_pairs
from sightline.stats.trainings import estimates_over_trainings


def main_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Choose the metrics by which a study compares all pairs; `sightline compare` takes all.

    Parameters
    ----------
    metrics
        Metrics of the study.

    Returns
    -------
    tuple of str
        Overlap and pointing where the study has them, otherwise its first two.

    Examples
    --------
    >>> main_metrics(["dice", "pointing-game", "iou"])
    ('iou', 'pointing-game')
    """
    return tuple(sorted(metrics, key=lambda name: {"iou": 0, "pointing-game": 1}.get(name, 2)))[:2]


def write_comparisons(
    scores: ScoreTable,
    protocols: Sequence[Protocol],
    metrics: Sequence[str],
    seed: int,
    models: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the tables comparisons and ranks of all pairs of model sources.

    Where several of the models are trainings of one network, the tables estimates_over_trainings and
    comparisons_over_trainings are written as well. A run of one source has none of these tables.

    Parameters
    ----------
    scores
        Tables of the run.
    protocols
        Protocols of scoring.
    metrics
        Metrics by which the pairs are compared.
    seed
        Seed of the bootstrap.
    models
        Descriptions of the models, as run.json has them.
    """
    rows = scores.scores(metrics)
    sources = [source for source in dict.fromkeys(rows["source"]) if Source.parse(source).kind == "model"]
    if not select_pairs(sources):
        return
    table = compare(rows, protocols, seed=seed)
    scores.run.write_table("comparisons", table)
    scores.run.write_table("ranks", rank_sources(table))
    trainings = find_trainings(models, sources)
    if trainings:
        scores.run.update_info(trainings=trainings)
        scores.run.write_table("estimates_over_trainings", estimates_over_trainings(rows, trainings, protocols))
        if len({*_networks(sources, trainings)}) > 1:
            grouped = compare(rows, protocols, trainings=trainings, seed=seed)
            scores.run.write_table("comparisons_over_trainings", grouped[grouped["trainings"] != "1 and 1"])


def _networks(sources: Sequence[str], trainings: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the sources with the trainings of a network as one."""
    owner = {model: network for network, members in trainings.items() for model in members}
    parsed = [Source.parse(source) for source in sources]
    return [str(Source(s.kind, owner.get(s.model, s.model), s.method)) for s in parsed]


def find_trainings(models: Sequence[Mapping[str, Any]], sources: Sequence[str]) -> dict[str, list[str]]:
    """Find the models that are trainings of one network: of equal architecture and data, with other seeds.

    Parameters
    ----------
    models
        Descriptions of the models, as run.json has them.
    sources
        Sources that are compared; models without one are left out.

    Returns
    -------
    dict of str to list of str
        Name of the network, such as 'densenet121 (3 trainings)' -> names of its trainings.

    Examples
    --------
    >>> record = {"data": "phantom:9", "fraction": 1.0, "derived": []}
    >>> models = [{"name": f"net-{i}", "arch": "small?side=64", "training": {**record, "seed": i}} for i in (0, 1)]
    >>> find_trainings(models, ["net-0/grad-cam", "net-1/grad-cam"])
    {'small (2 trainings)': ['net-0', 'net-1']}
    """
    present = {Source.parse(source).model for source in sources}
    groups: dict[tuple[Any, ...], dict[Any, str]] = {}
    for model in models:
        training = model.get("training") or {}
        if model["name"] in present and model.get("arch") and training.get("seed") is not None:
            recipe = (training.get("data"), tuple(training.get("derived", ())), training.get("fraction"))
            groups.setdefault((model["arch"], *recipe), {}).setdefault(training["seed"], model["name"])
    trainings: dict[str, list[str]] = {}
    for (arch, *_), by_seed in groups.items():
        if len(by_seed) > 1:
            name = f"{arch.partition('?')[0]} ({len(by_seed)} trainings)"
            while name in trainings:
                name += " of other data or options"
            trainings[name] = list(by_seed.values())
    return trainings

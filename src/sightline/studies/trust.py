"""May a saliency method be trusted on a model: does it depend on what was learned, come back, and beat a prior?

After Arun et al. 2021, 10.1148/ryai.2021200267, and Adebayo et al. 2018, arXiv:1810.03292.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from sightline.core import Dataset, Maps, Source
from sightline.data import dataset
from sightline.errors import DataError
from sightline.evaluation.faithfulness import tried
from sightline.evaluation.randomization import SCHEMA, Comparison, compare, forget, write_similarity
from sightline.evaluation.robustness import changed
from sightline.evaluation.sampling import cases
from sightline.evaluation.score_run import evaluate
from sightline.evaluation.thresholds import chosen
from sightline.maps.collections import Together
from sightline.maps.references import Controls, Readers
from sightline.methods import Of
from sightline.methods.explain import check_methods, explain
from sightline.methods.inference import Asked, background
from sightline.models import untrained
from sightline.models.warnings import told
from sightline.models.weight_randomization import Block, Order, blocks, by_layer
from sightline.protocol import Protocol
from sightline.runs.provenance import describe, same_models
from sightline.runs.run import Run
from sightline.stats.faithfulness import robustness
from sightline.stats.sanity_checks import levels, verdicts
from sightline.stats.utility import PRIOR, utility
from sightline.studies import trust_models as teams
from sightline.studies.localization import UNTRAINED, method_facts, model_facts, moved
from sightline.studies.trust_models import Team

PHANTOM = "phantom:80?split=test&size=192"
METHODS = ("grad-cam", "gradient", "integrated-gradients?nodes=8", "guided-backprop", "edges", "noise")
METRICS = ("average-precision", "pr-area", "iou", "hit")


def trust(
    *,
    data: str = PHANTOM,
    model: str = "",
    replicates: tuple[str, ...] = (),
    others: tuple[str, ...] = (),
    shuffled: tuple[str, ...] = (),
    localizers: tuple[str, ...] = (),
    methods: tuple[str, ...] = METHODS,
    orders: tuple[Order, ...] = ("top-down",),
    layers: bool = False,
    draws: int = 1,
    smooth: int = 0,
    preferred: bool = False,
    images: int = 100,
    findings: str = "",
    protocol: str = "both",
    of: Of = "logit",
    out: Path = Path("runs/trust"),
    seed: int = 0,
    batch: int = 8,
    device: str = "cpu",
) -> Run:
    """Randomize a model block by block, train it again, and see what becomes of its maps; score them beside a prior.

    Parameters
    ----------
    data
        Data set with marks, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    model
        Checkpoint, or a model as NAME?option=value (`sightline list models`); on the phantom, all networks are trained
        if none is named.
    replicates
        Checkpoints of the same architecture trained with other seeds: are maps repeatable?
    others
        Checkpoints of other architectures: are maps reproducible?
    shuffled
        Checkpoints trained on shuffled labels (`train classifier --shuffle-labels`): their maps should differ.
    localizers
        Networks trained on marks (unet, retinanet), as the ceiling; the first is compared with the others.
    methods
        Saliency methods, as NAME?option=value; the controls edges and noise show what the tests can detect.
    orders
        Order of weight randomization: top-down (from the logits to the image), bottom-up, independent (one block at a
        time).
    layers
        Randomize layer by layer instead of block by block.
    draws
        How often the weights are randomized, each time with another seed.
    smooth
        During weight randomization, compare means of maps over this many noisy copies; 0 compares maps of the
        radiograph itself.
    preferred
        During weight randomization, explain under `published` the class that each network prefers, finding present or
        absent, as the published code does; costs up to twice as much. Otherwise, and under `corrected`, the finding.
    images
        Radiographs compared, at most.
    findings
        Findings, comma-separated; by default those that the models and the data share.
    protocol
        Protocol of scoring: published (as in the original code), corrected, or both.
    of
        What is explained: the logit or the probability.
    out
        Run folder; the same command continues it.
    seed
        Seed of training, random draws and bootstrap resamples.
    batch
        Images per pass; no result depends on it.
    device
        cpu or cuda.
    """
    named = {"model": model, "replicates": replicates, "others": others, "shuffled": shuffled, "localizers": localizers}
    records = chosen(protocol, "", 0.0, "", "")
    check_methods(methods)
    opened = dataset(data)
    options = {
        "data": data, **named, "methods": methods, "orders": orders, "layers": layers, "draws": draws, "smooth": smooth,
        "preferred": preferred, "images": images, "findings": findings, "protocol": protocol, "of": of, "seed": seed,
    }  # fmt: skip
    run = Run.start(out, "trust", options)
    with run.lock():
        run = describe(run, opened, records, title="Trust")
        team = _team(run, opened, named, seed, device)
        run = run.describe(notes=told(team.everyone))
        wanted = team.findings(opened, findings)
        facts = same_models(run, [model_facts(m) for m in team.everyone])
        run = run.describe(models=facts, judged=team.model.name, methods=method_facts(methods), findings=wanted)
        run = _explained(run, opened, team, methods, wanted, of, batch, seed)
        controls = Controls(opened, ("average-mask", "center"), seed)
        held = Together((run, controls, Readers(opened)))
        evaluate(run, held, opened, names=METRICS, chosen=records, findings=wanted, seed=seed)
        some = tuple(cases(opened, wanted, images, seed))
        if not some:
            raise DataError(f"{opened.spec!r} labels none of {', '.join(wanted)} as present; nothing can be compared")
        asked = Asked(wanted, of, seed, batch, background(opened, team.model, methods, seed))
        comparison = Comparison(run, team.model, methods, some, tuple(records), asked, smooth, preferred)
        drawn = (by_layer if layers else blocks)(team.model)
        _compared(comparison, team, drawn, orders, draws)
        _tried(comparison, team, controls)
        _summarize(run, team, records, seed)
        return run.describe(sources=list(held.sources), stages=[b.title for b in drawn])


def _explained(
    run: Run,
    data: Dataset,
    team: Team,
    methods: tuple[str, ...],
    wanted: tuple[str, ...],
    of: Of,
    batch: int,
    seed: int,
) -> Run:
    """Maps of every network: by the methods, of localizers their own, and of the model untrained."""
    for number, m in enumerate(team.classifiers):
        run = explain(data, m, methods, findings=wanted, out=run, of=of, batch=batch, seed=seed + number)
    for m in team.localizers:
        prefix = str(Source("localizer", m.name, ""))
        run = explain(data, m, ("own",), findings=wanted, out=run, of=of, batch=batch, prefix=prefix)
    control = str(Source("control", UNTRAINED, ""))
    return explain(data, untrained(team.model, seed), methods, findings=wanted, out=run, of=of, batch=batch, seed=seed,
                   prefix=control)  # fmt: skip


def _compared(c: Comparison, team: Team, drawn: Sequence[Block], orders: Sequence[Order], draws: int) -> None:
    """The table similarity."""
    tasks = [forget(c, drawn, orders, draws), compare(c, team.partners)]
    if team.localizers:
        ceiling = replace(c, model=team.localizers[0], methods=("own",), kind="localizer")
        tasks.append(compare(ceiling, team.localizing_partners))
    write_similarity(c.run, *tasks)


def _tried(c: Comparison, team: Team, controls: Maps) -> None:
    """The tables faithfulness and steadiness."""
    sources = {f"{team.model.name}/{m}": m for m in c.methods} | {PRIOR: PRIOR}
    sources |= {source: source for m in team.localizers for source in [str(Source("localizer", m.name, "own"))]}
    tried(c.run, controls, team.model, sources, c.cases, c.asked.seed)
    changed(c.run, team.model, c.methods, c.cases, c.asked)


def _team(run: Run, data: Dataset, named: Mapping[str, Any], seed: int, device: str) -> Team:
    """Open the networks, or train them on the phantom."""
    if named["model"]:
        team = teams.opened(**named, seed=seed)
    elif data.spec.startswith("phantom"):
        team = teams.trained(run.path / "training", seed, device)
    else:
        raise DataError("no model is named: give --model CHECKPOINT, and --replicates and --others to compare it with")
    for m in team.everyone:
        moved(m, device)
    return team.checked(data)


def _summarize(run: Run, team: Team, protocols: Sequence[Protocol], seed: int) -> None:
    """The tables levels and verdicts, from similarity and scores."""
    similarity = run.table("similarity", SCHEMA.names)
    run.write_table("levels", levels(similarity, seed))
    run.write_table("robustness", robustness(run.table("faithfulness"), run.table("steadiness"), seed))
    scores = run.table("scores", ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"])
    gained = utility(scores, run.table("differences"), team.model.name, protocols)
    run.write_table("verdicts", pd.concat([verdicts(similarity, seed), gained], ignore_index=True))

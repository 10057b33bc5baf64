"""Is a trainable element in the network a better explanation than post-hoc maps, and how close to a detector?

A reconstruction: of Aggarwal et al. 2020, arXiv:2011.07482, only the abstract is public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sightline._util.rng import IMAGE_SUBSET, key_digest
from sightline.core import Dataset, Maps, Source
from sightline.data import dataset
from sightline.data.reader_study.rating_sheets import FILE, SIMULATED, Sheet, draw_sheets, simulate, write_sheets
from sightline.errors import DataError
from sightline.evaluation.faithfulness import tried
from sightline.evaluation.froc_candidates import gather
from sightline.evaluation.randomization import SCHEMA, Comparison, compare, forget, write_similarity
from sightline.evaluation.robustness import changed
from sightline.evaluation.sampling import cases
from sightline.evaluation.score_run import evaluate
from sightline.evaluation.thresholds import chosen
from sightline.evaluation.timing import measured
from sightline.maps.collections import Together
from sightline.maps.references import Controls, Readers
from sightline.methods import Of
from sightline.methods.explain import check_methods, explain
from sightline.methods.inference import Asked, predict
from sightline.models import warnings
from sightline.models.map_collapse import FEWEST, emptiness, in_words
from sightline.models.weight_randomization import blocks
from sightline.protocol import Protocol
from sightline.runs.provenance import describe, same_models
from sightline.runs.run import Run
from sightline.stats.auroc import accuracy
from sightline.stats.estimates import paired
from sightline.stats.faithfulness import robustness
from sightline.stats.froc import froc
from sightline.stats.label_budget import ELEMENT, learned
from sightline.stats.model_comparison import discrimination
from sightline.stats.noninferiority import MARGIN, noninferiority
from sightline.stats.ratings import agreements, contrasts, means
from sightline.stats.sanity_checks import levels, verdicts
from sightline.stats.utility import PRIOR, utility
from sightline.studies import selfexplain_models
from sightline.studies.localization import method_facts, model_facts, moved
from sightline.studies.selfexplain_models import Elements, Told

PHANTOM = "phantom:1200?split=test&size=192"
FINDINGS = "Cardiomegaly, Consolidation, Lung Lesion, Pleural Effusion, Pneumothorax"
"""Explained on the phantom: large and small, central and at the border. Its networks learn all ten."""
METHODS = ("grad-cam", "gradient", "smoothgrad-squared", "integrated-gradients?nodes=10", "smooth-ig",
           "guided-backprop", "guided-grad-cam", "xrai")  # fmt: skip
"""The eight of Arun et al. 2021."""
SMALL = ("grad-cam", "gradient", "smoothgrad-squared?samples=3", "integrated-gradients?nodes=4",
         "smooth-ig?samples=2&nodes=3", "guided-backprop", "guided-grad-cam", "xrai?nodes=2")  # fmt: skip
"""The same, as the phantom's few minutes allow them."""
METRICS = ("average-precision", "pr-area", "iou", "dice", "hit", "mass")
OWN, CAM = "own", "grad-cam"
BUDGET = "budget/"
"""Prefix of a network's name in the sources of the label budget."""
READERS = (f"{SIMULATED} 1", f"{SIMULATED} 2")


def selfexplain(
    *,
    data: str = PHANTOM,
    model: str = "",
    plain: str = "",
    replicates: tuple[str, ...] = (),
    others: tuple[str, ...] = (),
    localizers: tuple[str, ...] = (),
    told: tuple[str, ...] = (),
    detectors: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    margin: float = MARGIN,
    images: int = 50,
    sheets: int = 40,
    tried_on: int = 30,
    findings: str = "",
    protocol: str = "corrected",
    of: Of = "logit",
    out: Path = Path("runs/selfexplain"),
    seed: int = 0,
    batch: int = 8,
    device: str = "cpu",
) -> Run:
    """Compare a network that shows where with the same without, with post-hoc maps of both, and with detectors.

    Parameters
    ----------
    data
        Data set with marks, as NAME:PATH?option=value; by default the phantom, which is synthetic.
    model
        Checkpoint of a network with the self-explaining element, trained on labels: `train classifier --model
        'selfexplaining:ARCH?kind=gate'`; on the phantom, all networks are trained if none is named.
    plain
        Checkpoint of the same network without the element, trained alike.
    replicates
        Checkpoints of `--model` trained with other seeds: are its maps repeatable?
    others
        Checkpoints of the element in other architectures: are its maps reproducible?
    localizers
        Networks trained on marks: retinanet, unet, or the element itself ('selfexplaining:ARCH?learns=marks').
    told
        Elements trained with marks on N radiographs, as N=CHECKPOINT. 0=CHECKPOINT had as long a training without
        marks; by default it is `--model`.
    detectors
        Detectors trained with marks on N radiographs, as N=CHECKPOINT.
    methods
        Post-hoc saliency methods, as NAME?option=value; by default the eight of Arun et al.
    margin
        Noninferiority margin in AUROC: the element is no worse if the interval of the difference lies above minus this.
    images
        Radiographs explained, at most; accuracy is that of all of them.
    sheets
        Cases on the blinded sheets for readers, at most.
    tried_on
        Radiographs for the tests that randomize weights or erase parts of the image, at most.
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
    records = chosen(protocol, "", 0.0, "", "")
    methods = methods or (METHODS if model else SMALL)
    check_methods(methods)
    if not 0 < margin < 0.5 or min(images, sheets, tried_on) < 1:
        given = f"margin={margin}, images={images}, sheets={sheets}, tried_on={tried_on}"
        raise DataError(f"{given}; allowed: a margin above 0 below 0.5, the others from 1")
    opened = dataset(data)
    named = {"model": model, "plain": plain, "replicates": replicates, "others": others, "localizers": localizers,
             "told": told, "detectors": detectors}  # fmt: skip
    options = {"data": data, **named, "methods": methods, "margin": margin, "images": images, "sheets": sheets,
               "tried_on": tried_on, "findings": findings, "protocol": protocol, "of": of, "seed": seed}  # fmt: skip
    run = Run.start(out, "selfexplain", options)
    with run.lock():
        run = describe(run, opened, records, title="Self-explaining models")
        team = _team(run, opened, named, seed, device)
        wanted = team.findings(opened, findings if findings or model else FINDINGS)
        run = run.describe(notes=warnings.told(team.everyone))
        facts = same_models(run, [model_facts(m) for m in (*team.compared, *team.replicates, *team.others)])
        run = run.describe(models=facts, methods=method_facts((*methods, OWN)), findings=wanted)
        _asked(run, opened, team, wanted, margin, seed)
        part = _some(opened, images, seed)
        run = _explained(run, part, team, methods, wanted, of, batch, seed)
        controls = Controls(opened, ("average-mask", "center"), seed)
        held = Together((run, controls, Readers(part)))
        evaluate(run, held, part, names=METRICS, chosen=records, findings=wanted, seed=seed)
        _pointed(run, held, part, wanted, seed)
        run = _budget(run, part, team, wanted, records, batch, seed)
        some = tuple(cases(part, wanted, tried_on, seed))
        asked = Asked(wanted, of, seed, batch)
        _trusted(Comparison(run, team.element, (OWN, CAM), some, tuple(records), asked), part, team, controls)
        _summarized(run, team, methods, records, seed)
        _read(run, team, records, sheets, seed)
        measured(run, (team.plain, team.element), team.localizers, methods, wanted)
        shown = {"sources": list(held.sources), "element": team.element.name, "explained": len(part.radiographs)}
        shown["collapsed"] = _collapsed(run, part, team)
        return run.describe(**shown, stages=[b.title for b in blocks(team.element)])


def _some(data: Dataset, images: int, seed: int) -> Dataset:
    """At most so many radiographs, drawn by id, in the order of the data set. Errors: `DataError` without a mark."""
    ids = set(sorted((r.id for r in data.radiographs), key=lambda name: key_digest(seed, IMAGE_SUBSET, name))[:images])
    part = replace(data, radiographs=tuple(r for r in data.radiographs if r.id in ids))
    if not any(data.marks(r.id, f, data.truth) for r in part.radiographs for f in data.findings):
        raise DataError(f"none of {len(ids)} radiographs of {data.spec!r} has a mark; give more --images")
    return part


def _team(run: Run, data: Dataset, named: Mapping[str, Any], seed: int, device: str) -> Elements:
    """Open the networks, or train them on the phantom."""
    if named["model"]:
        team = selfexplain_models.opened(**named, seed=seed)
    elif data.spec.startswith("phantom"):
        team = selfexplain_models.trained(run.path / "training", seed, device)
    else:
        raise DataError(
            "no model is named: give --model CHECKPOINT, and --plain, the same backbone without the element"
        )
    for m in team.everyone:
        moved(m, device)
    return team.checked(data)


def _collapsed(run: Run, data: Dataset, team: Elements) -> dict[str, str]:
    """Network -> which of its own maps in this run say nothing of where, and why, whoever trained it.

    Judged by the films that show the finding, or all where fewer than two do.
    """
    found, known = dict[str, str](), {m.name for m in team.everyone}
    for one in (run, *([Run.open(run.path / "budget")] if team.told else [])):
        for source, findings in one.sources.items():
            parsed = Source.parse(source)
            name = parsed.model.removeprefix(BUDGET)
            if parsed.method == OWN and name in known:  # in the budget some have another name, too
                why = in_words({f: emptiness(maps) for f in findings if len(maps := _own(one, data, source, f))})
                found |= {name: why} if why else {}
    return found


def _own(run: Run, data: Dataset, source: str, finding: str) -> Tensor:
    """Stored maps (N, h, w) of the films that show a finding, or of all where fewer than two do."""
    showing = [r for r in data.radiographs if r.labels.get(finding) == 1]
    some = showing if len(showing) >= FEWEST else data.radiographs
    maps = (run.map(source, r.id, finding) for r in some)
    values = [m.values for m in maps if m is not None and m.status in ("ok", "flat")]
    return torch.from_numpy(np.stack(values)) if values else torch.empty(0)


def _asked(run: Run, data: Dataset, team: Elements, wanted: Sequence[str], margin: float, seed: int) -> None:
    """The tables predictions, classification, discrimination and noninferiority, of the element by every seed."""
    predict(run, data, (*team.compared, *team.replicates), wanted)
    table = run.table("predictions").drop(columns="radiograph")
    run.write_table("classification", accuracy(table, seed=seed))
    run.write_table("discrimination", discrimination(table, seed))
    pairs = [(m.name, team.plain.name) for m in (team.element, *team.replicates)]
    run.write_table("noninferiority", noninferiority(table, pairs, margin, seed))


def _explained(
    run: Run,
    data: Dataset,
    team: Elements,
    methods: tuple[str, ...],
    wanted: tuple[str, ...],
    of: Of,
    batch: int,
    seed: int,
) -> Run:
    """Post-hoc maps of the backbone with and without the element, and every network's own."""
    run = explain(data, team.element, (OWN, *methods), findings=wanted, out=run, of=of, batch=batch, seed=seed)
    run = explain(data, team.plain, methods, findings=wanted, out=run, of=of, batch=batch, seed=seed)
    for m in team.localizers:
        prefix = str(Source("localizer", m.name, ""))
        run = explain(data, m, (OWN,), findings=wanted, out=run, batch=batch, prefix=prefix)
    return run


def _pointed(run: Run, held: Maps, data: Dataset, wanted: Sequence[str], seed: int) -> None:
    """The tables candidates and froc."""
    gather(run, held, data, [s for s in held.sources if Source.parse(s).kind != "reader"], wanted)
    run.write_table("froc", froc(run.table("candidates"), seed))


def _budget(
    run: Run, data: Dataset, team: Elements, wanted: tuple[str, ...], records: Sequence[Protocol], batch: int, seed: int
) -> Run:
    """The table budget, of average precision by marked films, and where the curves cross; in a folder of its own."""
    if not team.told:
        return run
    part = Run.start(run.path / "budget", "budget", {"seed": seed})
    without = [t for t in team.told if not t.films and t.role == ELEMENT] or [Told(ELEMENT, 0, team.element)]
    everyone = (*without, *(t for t in team.told if t.films))
    names = {f"{BUDGET}{t.role}-{t.films}": t for t in everyone}
    for name, one in names.items():
        part = explain(data, one.model, (OWN,), findings=wanted, out=part, batch=batch, prefix=name)
    evaluate(part, part, data, names=METRICS[:1], chosen=records[-1:], findings=wanted, seed=seed)
    scores = part.table("scores", ["source", "radiograph", "patient", "finding", "value"])
    who = scores["source"].map(lambda source: names[Source.parse(source).model])
    scores = scores.assign(role=[t.role for t in who], told=[t.films for t in who])
    curve, crossing = learned(scores, seed)
    run.write_table("budget", curve)
    clean = {k: None if v != v else v for k, v in crossing.items()}
    lengths = {f"{t.role}-{t.films}": t.length for t in team.told if t.length}
    return run.describe(crossing=clean, lengths=lengths)


def _trusted(c: Comparison, data: Dataset, team: Elements, controls: Maps) -> None:
    """The tables similarity, faithfulness and steadiness, of the element's own map and its Grad-CAM."""
    radiographs = {x.radiograph.id: x.radiograph for x in c.cases}
    data = replace(data, radiographs=tuple(radiographs.values()))
    findings = tuple(dict.fromkeys(x.finding for x in c.cases))
    for m in (*team.replicates, *team.others):
        explain(data, m, c.methods, findings=findings, out=c.run, of=c.asked.of, batch=c.asked.batch)
    write_similarity(c.run, forget(c, blocks(team.element), ("top-down",)), compare(c, team.partners))
    sources = {f"{team.element.name}/{m}": m for m in c.methods} | {PRIOR: PRIOR}
    tried(c.run, controls, team.element, sources, c.cases, c.asked.seed)
    changed(c.run, team.element, c.methods, c.cases, c.asked)


def _summarized(run: Run, team: Elements, methods: Sequence[str], records: Sequence[Protocol], seed: int) -> None:
    """The tables levels, robustness and verdicts, and differences of the element's map to every other."""
    similarity = run.table("similarity", SCHEMA.names)
    run.write_table("levels", levels(similarity, seed))
    run.write_table("robustness", robustness(run.table("faithfulness"), run.table("steadiness"), seed))
    scores = run.table("scores", ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"])
    own = f"{team.element.name}/{OWN}"
    posthoc = [f"{m.name}/{k}" for m in (team.element, team.plain) for k in methods]
    resamples = max(1000, 50 * len(posthoc))  # or no p could be below 0.05 once it is corrected for so many
    between = paired(scores, lambda there: [(own, s) for s in posthoc if s in there], records, resamples, seed)
    run.write_table("differences", pd.concat([run.table("differences"), between], ignore_index=True))
    gained = utility(scores, run.table("differences"), team.element.name, records)
    shown = [m for m in gained["method"].unique() if m in (OWN, CAM) or Source.parse(m).kind == "localizer"]
    gained = gained[gained["method"].isin(shown)]
    run.write_table("verdicts", pd.concat([verdicts(similarity, seed), gained], ignore_index=True))


def _read(run: Run, team: Elements, records: Sequence[Protocol], most: int, seed: int) -> None:
    """The sheets for readers, and the tables ratings, ratings_means, ratings_contrasts and ratings_agreement.

    Those are of simulated readers, who rate by what the scores say.
    """
    sources = [f"{team.element.name}/{OWN}", f"{team.element.name}/{CAM}", f"{team.plain.name}/{CAM}"]
    sources += [str(Source("localizer", m.name, OWN)) for m in team.localizers[:1]]
    sources = [s for s in sources if s in run.sources]
    scores = run.table("scores", ["protocol", "source", "radiograph", "patient", "finding", "metric", "value"])
    scores = scores[scores["protocol"] == records[-1].name]
    values = scores.set_index(["metric", "source", "radiograph", "finding"])["value"].to_dict()
    marked = scores[scores["source"] == sources[0]].drop_duplicates(["radiograph", "finding"])
    some = list(zip(marked["radiograph"], marked["patient"], marked["finding"], strict=True))
    drawn = draw_sheets(some, sources, READERS, most=most, seed=seed)
    write_sheets(run.path / FILE, drawn)

    def quality(source: str, sheet: Sheet) -> dict[str, float]:
        at = (source, sheet.radiograph, sheet.finding)
        location = (values["hit", *at] + values["mass", *at]) / 2
        return {"location": location, "extent": values["dice", *at], "usefulness": values["average-precision", *at]}

    ratings = simulate(drawn, quality, seed=seed)
    run.write_table("ratings", ratings)
    run.write_table("ratings_means", means(ratings, seed))
    run.write_table("ratings_contrasts", contrasts(ratings, seed))
    run.write_table("ratings_agreement", agreements(ratings, seed))

"""May a saliency method be trusted on a model: does it depend on what was learned, come back, and beat a prior?

After Arun et al. 2021, 10.1148/ryai.2021200267, and Adebayo et al. 2018, arXiv:1810.03292.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from sightline.benchmark import Controls, Readers, Together
from sightline.core import DataError, Dataset
from sightline.data import dataset
from sightline.evaluate import evaluate
from sightline.explaining import check_methods, explain
from sightline.findings import choose
from sightline.methods import Of
from sightline.models import Model, state_hash, untrained
from sightline.models.randomize import Order, blocks, by_layer
from sightline.models.zoo import open_model
from sightline.record import describe
from sightline.sanity import AGAIN, OTHER, SCHEMA, Comparison, cases, compare, forget
from sightline.stats.trust import levels, verdict, verdicts
from sightline.store import Run
from sightline.studies.localization import UNTRAINED, _method_facts, model_facts
from sightline.training.fit import fit
from sightline.tuning import chosen

PHANTOM = "phantom:120?split=test&size=256"
TRAINING = "phantom:1200?start=100000&size=160"
METHODS = ("grad-cam", "gradient", "integrated-gradients?nodes=8", "guided-backprop", "edges", "noise")
METRICS = ("average-precision", "pr-area", "iou", "hit")
PRIOR = "control/average-mask"


@dataclass(frozen=True, slots=True)
class Team:
    """The model whose maps are judged, the same trained again, and other architectures."""

    model: Model
    replicates: tuple[Model, ...]
    others: tuple[Model, ...]

    @property
    def everyone(self) -> tuple[Model, ...]:
        return self.model, *self.replicates, *self.others

    @property
    def partners(self) -> dict[str, str]:
        return {m.name: AGAIN for m in self.replicates} | {m.name: OTHER for m in self.others}


def trust(
    *,
    data: str = PHANTOM,
    model: str = "",
    replicates: tuple[str, ...] = (),
    others: tuple[str, ...] = (),
    methods: tuple[str, ...] = METHODS,
    orders: tuple[Order, ...] = ("top-down",),
    layers: bool = False,
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
        Data set with marks, as NAME:PATH?option=value; the phantom when none is named.
    model
        Checkpoint or zoo spec; on the phantom, three small networks are trained when none is named.
    replicates
        The same architecture trained again with other seeds: are maps repeatable?
    others
        Other architectures: are maps reproducible?
    methods
        Saliency methods by name, options after '?'. The controls edges and noise show what the tests can tell.
    orders
        top-down (from the logits to the image), bottom-up, independent.
    layers
        Draw every layer by itself instead of block by block.
    images
        Radiographs compared at most.
    findings
        Comma-separated; by default those that the models and data share.
    protocol
        published, corrected or both.
    of
        What is explained: logit or probability.
    out
        Run folder; the same command continues it.
    seed
        Of training, draws and resamples.
    batch
        Images per pass; no result depends on it.
    device
        cpu or cuda.
    """
    options = {
        "data": data, "model": model, "replicates": replicates, "others": others, "methods": methods, "orders": orders,
        "layers": layers, "images": images, "findings": findings, "protocol": protocol, "of": of, "seed": seed,
    }  # fmt: skip
    records = chosen(protocol, "", 0.0, "", "")
    check_methods(methods)
    opened = dataset(data)
    run = Run.start(out, "trust", options)
    with run.lock():
        run = describe(run, opened, records, title="Trust")
        team = _team(run, opened, model, replicates, others, seed, device)
        wanted = _shared(opened, team, findings)
        facts = [model_facts(m) for m in team.everyone]
        run = run.describe(models=facts, methods=_method_facts(methods), findings=wanted)
        for number, m in enumerate(team.everyone):
            run = explain(opened, m, methods, findings=wanted, out=run, of=of, batch=batch, seed=seed + number)
        control = f"control/{UNTRAINED}"
        run = explain(opened, untrained(team.model, seed), methods, findings=wanted, out=run, of=of, seed=seed,
                      prefix=control)  # fmt: skip
        held = Together((run, Controls(opened, ("average-mask", "center"), seed), Readers(opened)))
        evaluate(run, held, opened, names=METRICS, chosen=records, findings=wanted, seed=seed)
        some = tuple(cases(opened, wanted, images, seed))
        if not some:
            raise DataError(f"{opened.spec!r} labels none of {', '.join(wanted)} as present; nothing can be compared")
        comparison = Comparison(run, team.model, methods, some, tuple(records), seed, of)
        drawn = (by_layer if layers else blocks)(team.model)
        forgot, compared = forget(comparison, drawn, orders), compare(comparison, team.partners)
        _summarize(run, forgot, compared, team.model.name, seed)
        return run.describe(sources=list(held.sources), stages=[b.name for b in drawn])


def _summarize(run: Run, forgot: Sequence[str], compared: Sequence[str], name: str, seed: int) -> None:
    """The tables similarity, levels and verdicts."""
    parts = [f"../similarity-forgetting/{key}" for key in forgot] + [f"../similarity-stored/{key}" for key in compared]
    run.join_parts("similarity-stored", parts, "similarity")
    similarity = run.table("similarity", SCHEMA.names)
    run.write_table("levels", levels(similarity, seed))
    gaps = run.table("differences")
    beaten = gaps[
        (gaps["versus"] == PRIOR) & (gaps["finding"] == "average") & gaps["source"].str.startswith(f"{name}/")
    ]
    utility = [
        {
            "criterion": "utility", "protocol": row["protocol"], "measure": row["metric"],
            "method": row["source"].partition("/")[2], "versus": "average-mask", "mean": row["mean"], "low": row["low"],
            "high": row["high"], "n": row["n"], "patients": row["patients"],
            "verdict": verdict({"low": row["low"], "high": row["high"]}, below=False),
        }
        for row in beaten.to_dict("records")
    ]  # fmt: skip
    run.write_table("verdicts", pd.concat([verdicts(similarity, seed), pd.DataFrame(utility)], ignore_index=True))


def _team(
    run: Run, data: Dataset, model: str, replicates: Sequence[str], others: Sequence[str], seed: int, device: str
) -> Team:
    """Open the models, or train three on the phantom. Errors: `DataError` for replicates that are none."""
    if model:
        first = open_model(model, seed=seed)
        again = [replace(open_model(s, seed=seed), name=f"again-{i + 1}") for i, s in enumerate(replicates)]
        other = [open_model(s, seed=seed) for s in others]
        other = [replace(m, name=f"other-{i + 1}-{m.name}") for i, m in enumerate(other)]
        team = Team(first, tuple(again), tuple(other))
    elif data.spec.startswith("phantom"):
        team = _trained(run, seed, device)
    else:
        raise DataError("no model is named: give --model CHECKPOINT, and --replicates and --others to compare it with")
    for m in team.everyone:
        m.net.to(device)
    hashes = [state_hash(m.net) for m in team.everyone]
    twins = [m.name for m, digest in zip(team.everyone, hashes, strict=True) if hashes.count(digest) > 1]
    if twins:
        raise DataError(
            f"{' and '.join(twins)} have the same weights: a network does not repeat itself by being copied"
        )
    strange = [m.name for m in team.replicates if m.arch != team.model.arch]
    if strange:
        raise DataError(
            f"{', '.join(strange)} is no {team.model.arch or team.model.name} trained again; name it in --others"
        )
    return team


def _trained(run: Run, seed: int, device: str) -> Team:
    source = dataset(TRAINING)
    made = []
    for name, spec, number in (("small", "small", 0), ("again-1", "small", 1), ("other-1-narrow", "small?width=12", 2)):
        blank = open_model(spec, source.findings, seed=seed + number)
        blank.net.to(device)
        folder = run.path / "training" / str(number)
        done = fit(blank, source, folder, epochs=10, batch=16, augmented=False, seed=seed + number,
                   workers=os.cpu_count() or 1)  # fmt: skip
        made.append(replace(done, name=name))
    return Team(made[0], (made[1],), (made[2],))


def _shared(data: Dataset, team: Team, findings: str) -> tuple[str, ...]:
    shared = tuple(f for f in data.findings if all(f in m.findings for m in team.everyone))
    if not shared:
        known = "; ".join(f"{m.name}: {', '.join(m.findings)}" for m in team.everyone)
        raise DataError(f"no finding of {data.spec!r} is known to all models; they know {known}")
    return tuple(choose(findings or None, shared))

"""What is to be said of models before their maps: what was assumed of them, and who counts as untrained."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sightline.models.ensemble import Ensemble
from sightline.models.model import Model


def caveats(m: Model | Ensemble) -> list[str]:
    """Sentences, none for a model that is known well.

    >>> from torch import nn
    >>> from sightline.models import wrap
    >>> caveats(wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), ["Edema"], 4, channels=1, name="mine"))[0][:57]
    'mine has no training record, so it counts as an untrained'
    """
    said = []
    if m.training is None:
        own = isinstance(m, Model) and not m.arch
        way = "give training=TrainingRecord(...) to sl.wrap" if own else "name its checkpoint"
        said.append(f"{m.name} has no training record, so it counts as an untrained control; if it is trained, {way}")
    if isinstance(m, Model) and m.assumed:
        facts = {"findings": m.findings, "side": (m.side,), "resize": (m.resize,), "mean": m.mean, "std": m.std}
        told = {name: f"{name}={'|'.join(map(str, values))}" for name, values in facts.items()}
        assumed = "; ".join(text for name, text in told.items() if name in m.assumed)
        given = "; ".join(text for name, text in told.items() if name not in m.assumed)
        said.append(
            f"the checkpoint of {m.name} holds weights alone. As you said: {given}. Assumed: {assumed}. Where it was "
            "trained otherwise, say so (side=, resize=, mean=, std=), or wrap it in a function of yours, my_model:make"
        )
    return said


def told(models: Sequence[Model | Ensemble]) -> list[str]:
    """The caveats of all models, printed on standard error; for run.json."""
    said = [sentence for m in models for sentence in caveats(m)]
    for sentence in said:
        print(f"note: {sentence}", file=sys.stderr)
    return said

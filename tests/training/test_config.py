"""Recipes and samples: what is refused, and how."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import pytest

from sightline.errors import SightlineError
from sightline.training import SamplingConfig, TrainingConfig

WRONG = [
    *(
        {name: value}
        for name, value in [("epochs", 0), ("batch_size", 1), ("lr", 0.0), ("lr", math.nan), ("max_checkpoints", -1)]
    ),
    *(
        {name: value}
        for name, value in [
            ("weight_decay", -0.1),
            ("validation_interval", 0.0),
            ("validation_interval", 1.1),
            ("head_only_steps", -1),
        ]
    ),
    *({name: value} for name, value in [("layer_decay", 0.0), ("layer_decay", math.nan), ("patience", -1)]),
    *({name: "magic"} for name in ("schedule", "precision", "trainable")),
]
UNFIT = [
    *(
        {name: value}
        for name, value in [
            ("fraction", 0.0),
            ("fraction", 1.5),
            ("validation_fraction", 1.0),
            ("validation_fraction", -0.1),
        ]
    ),
    *({name: "maybe"} for name in ("uncertainty_policy", "blank_policy")),
]


@pytest.mark.parametrize(
    ("made", "wrong"), [(TrainingConfig(), one) for one in WRONG] + [(SamplingConfig(), one) for one in UNFIT]
)
def test_a_value_that_is_not_allowed_is_named(made: TrainingConfig | SamplingConfig, wrong: dict[str, object]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(SightlineError, match=f"^{name}={value!r}; allowed: "):
        replace(made, **wrong)


def test_every_value_that_is_not_allowed_is_named_at_once() -> None:
    with pytest.raises(SightlineError, match=r"epochs=0; allowed: from 1\. trainable='tail'; allowed: 'all', 'head'"):
        TrainingConfig(epochs=0, trainable="tail")  # type: ignore[arg-type]


def test_they_travel_to_other_processes() -> None:
    for one in (TrainingConfig(epochs=3, selection_findings=("Edema",)), SamplingConfig(split_seed=2)):
        assert pickle.loads(pickle.dumps(one)) == one

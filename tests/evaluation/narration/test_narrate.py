"""Facts of maps, the narrator, and the check of any text: on maps whose place is known, and on a real reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.core import Array
from sightline.evaluation.narration import (
    Measurements,
    check_claims,
    contradiction_rate,
    estimate_measurements,
    find_claims,
    narrate,
)
from sightline.evaluation.narration.facts import (
    FOCUS,
    SHAPE_MEASURES,
    SIDES,
    ZONES,
    gini,
    make_zone_masks,
    measure_shape,
    relative_density,
)

SEED = Path(__file__).resolve().parents[4] / "shared/seeds/000_7bcc41eb09ebf3e0.txt"
GRID = (48, 48)
CALLED = {"ConVIRT": "convirt", "ImageNet": "imagenet", "Random": "random"}


def lungs() -> Array:
    mask = np.zeros(GRID, bool)
    mask[6:42, 6:20] = mask[6:42, 28:42] = True
    return mask


def blob(row: float, col: float, width: float, seed: int = 0) -> Array:
    rows, cols = np.indices(GRID)
    noise = np.random.default_rng(seed).uniform(0, 0.02, GRID)
    return np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * width**2)) + noise


SEEN = {  # model, finding -> where its maps point (row, col) and how wide
    ("convirt", "Atelectasis"): (36, 12, 3),
    ("imagenet", "Atelectasis"): (24, 24, 12),
    ("random", "Atelectasis"): None,
    ("convirt", "Cardiomegaly"): (30, 28, 4),
    ("imagenet", "Cardiomegaly"): (24, 24, 12),
    ("random", "Cardiomegaly"): None,
    ("convirt", "Edema"): (36, 36, 3),
    ("imagenet", "Edema"): (24, 24, 12),
    ("random", "Edema"): None,
    ("convirt", "Pleural Effusion"): (24, 24, 3),
    ("imagenet", "Pleural Effusion"): (24, 24, 12),
    ("random", "Pleural Effusion"): None,
}


def cases(patients: int = 24) -> pd.DataFrame:
    heart = np.zeros(GRID, bool)
    heart[26:38, 22:34] = True
    places, rows = make_zone_masks(lungs(), heart), []
    for (model, finding), where in SEEN.items():
        for i in range(patients):
            rng = np.random.default_rng((i, len(finding)))
            if where is None:
                values = rng.uniform(0, 1, GRID)
            else:
                values = blob(where[0] + rng.normal(), where[1] + rng.normal(), where[2], i)
            told = {**measure_shape(values), **relative_density(values, places)}
            rows += [(model, finding, f"r{i}", f"p{i}", what, value) for what, value in told.items()]
    return pd.DataFrame(rows, columns=["model", "finding", "radiograph", "patient", "measure", "value"])


@pytest.fixture(scope="module")
def facts() -> Measurements:
    return estimate_measurements(cases())


def test_places_are_the_patients_and_cover_the_lungs() -> None:
    found = make_zone_masks(lungs())
    assert found["right"][20, 10] and found["left"][20, 38] and not found["left"][20, 10]
    thirds = [found[z] for z in ("upper", "middle", "lower")]
    assert (np.sum(thirds, axis=0) <= 1).all() and all(t.any() for t in thirds)
    assert (found["left"] | found["right"] == np.any(thirds, axis=0)).all()
    assert found["costophrenic"][40, 8] and not found["costophrenic"][40, 24]
    assert found["perihilar"][24, 24] and "cardiac" not in found


@given(st.integers(0, 1000), st.floats(0.1, 100))
def test_lifts_and_focus_do_not_see_the_scale(seed: int, scale: float) -> None:
    values = np.random.default_rng(seed).normal(size=GRID)
    places = make_zone_masks(lungs())
    first, second = relative_density(values, places), relative_density(values * scale, places)
    assert first == pytest.approx(second) and gini(values) == pytest.approx(gini(values * scale))
    assert 0 <= gini(values) < 1 and all(v >= 0 for v in first.values())


def test_an_even_map_is_dense_nowhere_and_an_empty_one_says_nothing() -> None:
    places = make_zone_masks(lungs())
    assert all(v == pytest.approx(1) for v in relative_density(np.ones(GRID), places).values())
    assert np.isnan(list(relative_density(-np.ones(GRID), places).values())).all() and np.isnan(gini(np.zeros(GRID)))
    share = np.sort(np.random.default_rng(0).exponential(size=50))
    pairs = np.abs(share[:, None] - share[None]).sum() / (2 * 50**2 * share.mean())
    assert gini(share) == pytest.approx(pairs)


@given(st.integers(0, 1000), st.floats(0.1, 100))
def test_shapes_are_those_of_their_definitions(seed: int, scale: float) -> None:
    values = np.random.default_rng(seed).normal(size=(5, 8))
    found = measure_shape(values * scale)
    cells = [((r + 0.5) / 5, (c + 0.5) / 8, max(values[r, c], 0)) for r in range(5) for c in range(8)]
    total = sum(v for *_, v in cells)
    row, col = (sum(cell[i] * cell[2] for cell in cells) / total for i in (0, 1))
    spread = (sum(v * ((r - row) ** 2 + (c - col) ** 2) for r, c, v in cells) / total) ** 0.5
    entropy = -sum(v / total * np.log(v / total) for *_, v in cells if v > 0) / np.log(40)
    assert found == pytest.approx({"focus": gini(values), "entropy": entropy, "spread": spread})
    assert measure_shape(values[::-1, ::-1]) == pytest.approx(found | {"focus": gini(values)})


def test_the_shapes_of_an_even_a_pointed_a_split_and_an_empty_map() -> None:
    assert measure_shape(np.ones(GRID)) == pytest.approx({"focus": 0, "entropy": 1, "spread": 6**-0.5}, abs=1e-3)
    point, split = np.zeros(GRID), np.zeros(GRID)
    point[3, 7] = split[0, 0] = split[-1, -1] = 2
    assert measure_shape(point) == pytest.approx({"focus": 1 - 1 / point.size, "entropy": 0, "spread": 0})
    assert measure_shape(split)["spread"] == pytest.approx(2**-0.5 * 47 / 48)
    assert np.isnan(list(measure_shape(-point).values())).all()


def test_facts_compare_every_shape(facts: Measurements) -> None:
    assert set(facts.differences["measure"]) == set(SHAPE_MEASURES)
    wider = facts.difference("random", "convirt", "average", "spread")
    evener = facts.difference("random", "convirt", "average", "entropy")
    assert wider is not None and wider["low"] > 0 and evener is not None and evener["low"] > 0


def test_facts_say_where_maps_point(facts: Measurements) -> None:
    lower, upper = (facts.estimate("convirt", "Atelectasis", z) for z in ("lower", "upper"))
    assert lower is not None and upper is not None and lower["low"] > 1 > upper["high"]
    right = facts.estimate("convirt", "Atelectasis", "right")
    assert right is not None and right["low"] > 1 and right["n"] == 24
    gap = facts.difference("convirt", "random", "average")
    assert gap is not None and gap["low"] > 0 and facts.difference("convirt", "nobody", "average") is None


def test_the_narrator_says_nothing_that_its_own_numbers_contradict(facts: Measurements) -> None:
    text = narrate(facts)
    told = check_claims(text, facts)
    assert len(told) > 8 and {c.verdict for c in told} == {"supported"}, [c for c in told if c.verdict != "supported"]
    assert "Maps of convirt are more focused than those of random" in text and "the lower zones" in text
    for heading in ("Perspectives", "Recommendations", "1. Atelectasis", "- **convirt:**"):
        assert heading in text


def test_where_nothing_is_clear_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (m, "Edema", f"r{i}", f"p{i}", what, 1 + rng.normal())
        for m in ("a", "b")
        for i in range(8)
        for what in (FOCUS, *SIDES, *ZONES)
    ]
    facts = estimate_measurements(
        pd.DataFrame(rows, columns=["model", "finding", "radiograph", "patient", "measure", "value"])
    )
    text = narrate(facts)
    assert "No network's maps are clearly more focused" in text and "Evidence is denser" not in text
    assert "fewer than ten patients" in text and not check_claims(text, facts)


@pytest.mark.parametrize(
    ("text", "model", "verdict"),
    [
        ("Atelectasis\n- convirt: Strong activation in the lower zone.", "convirt", "supported"),
        ("Atelectasis\n- convirt: Activation in the upper-lateral region.", "convirt", "contradicted"),
        ("Atelectasis\n- convirt: Activation of the left lung.", "convirt", "contradicted"),
        ("Edema\n- convirt: Perihilar activation.", "convirt", "contradicted"),
        ("Cardiomegaly\n- convirt: Evidence over the cardiac silhouette.", "convirt", "supported"),
        ("Edema\n- random: Diffuse, scattered speckles.", "random", "supported"),
        ("Edema\n- random: Tightly focused.", "random", "contradicted"),
        ("convirt is more focused than imagenet.", "convirt", "supported"),
        ("imagenet is more focused than convirt.", "imagenet", "contradicted"),
        ("Compared to convirt, random's activations are tighter.", "random", "contradicted"),
        ("Fracture\n- convirt: Focused on the ribs.", "convirt", "not checkable"),
    ],
)
def test_claims_of_known_truth(facts: Measurements, text: str, model: str, verdict: str) -> None:
    first = check_claims(text, facts)[0]
    assert (first.claim.model, first.verdict) == (model, verdict), first
    assert first.reason


def test_a_model_of_which_nothing_is_known_is_not_checked(facts: Measurements) -> None:
    told = check_claims("Edema\n- other: Focused.", facts, {"other": "other"})
    assert [c.verdict for c in told] == ["not checkable"] and np.isnan(contradiction_rate(told))


@given(st.text(max_size=300))
def test_any_text_is_read_without_harm(text: str) -> None:
    for claim in find_claims(text, CALLED):
        assert (claim.model in CALLED.values() and claim.text in " ".join(text.split())) or claim.text


@pytest.mark.skipif(not SEED.is_file(), reason=f"the reading by a language model is not at {SEED}")
def test_a_real_reading_is_taken_apart(facts: Measurements) -> None:
    """The seed's reading, on maps made to lie where its figure shows them: textbook places, which were not there."""
    text = SEED.read_text("utf-8")
    found = find_claims(text, CALLED)
    assert len(found) >= 18 and {c.finding for c in found} >= {
        "Atelectasis",
        "Cardiomegaly",
        "Edema",
        "Pleural Effusion",
    }
    where = {c.finding: c.places for c in found if c.kind == "location" and c.model == "convirt"}
    assert where["Atelectasis"] == {"upper"} and where["Pleural Effusion"] == {"costophrenic"}
    assert [(c.model, c.versus) for c in found if c.kind == "comparison"][:2] == [
        ("convirt", "imagenet"),
        ("convirt", "random"),
    ]
    told = {
        (c.claim.finding, c.claim.kind): c.verdict
        for c in check_claims(text, facts, CALLED)
        if c.claim.model == "convirt"
    }
    assert told["Atelectasis", "location"] == told["Pleural Effusion", "location"] == "contradicted"
    assert told["average", "comparison"] == "supported"
    rate = contradiction_rate(check_claims(text, facts, CALLED))
    assert 0.1 < rate < 0.6

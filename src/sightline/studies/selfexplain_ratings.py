"""Ratings of a self-explaining study: blinded sheets for readers, and ratings of simulated readers from the scores."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sightline.data.reader_study.rating_sheets import (
    RATING_CASES_FILE,
    SIMULATED_PREFIX,
    RatingCase,
    sample_rating_cases,
    simulate_ratings,
    write_rating_cases,
)
from sightline.runs.run import Run
from sightline.stats.ratings import contrasts, mean_ratings, rater_agreement

SIMULATED_READERS = (f"{SIMULATED_PREFIX} 1", f"{SIMULATED_PREFIX} 2")
"""Names of the simulated readers."""


def write_ratings(run: Run, scores: pd.DataFrame, sources: Sequence[str], max_cases: int, seed: int) -> None:
    """Write the sheets, and the tables ratings, ratings_means, ratings_contrasts and ratings_agreement.

    The ratings are those of simulated readers, which follow from the scores.

    Parameters
    ----------
    run
        Run of the study.
    scores
        Scores of one protocol.
    sources
        Sources whose maps are rated.
    max_cases
        Largest number of cases.
    seed
        Seed of the choice of cases and of the ratings.
    """
    values = scores.set_index(["metric", "source", "radiograph", "finding"])["value"].to_dict()
    annotated = scores[scores["source"] == sources[0]].drop_duplicates(["radiograph", "finding"])
    cases = list(zip(annotated["radiograph"], annotated["patient"], annotated["finding"], strict=True))
    sampled = sample_rating_cases(cases, sources, SIMULATED_READERS, max_cases=max_cases, seed=seed)
    write_rating_cases(run.path / RATING_CASES_FILE, sampled)

    def quality(source: str, case: RatingCase) -> dict[str, float]:
        key = (source, case.radiograph, case.finding)
        location = (values["pointing-game", *key] + values["relevance-mass", *key]) / 2
        return {"location": location, "extent": values["dice", *key], "usefulness": values["average-precision", *key]}

    ratings = simulate_ratings(sampled, quality, seed=seed)
    run.write_table("ratings", ratings)
    run.write_table("ratings_means", mean_ratings(ratings))
    run.write_table("ratings_contrasts", contrasts(ratings))
    run.write_table("ratings_agreement", rater_agreement(ratings))

"""The default narrative: measurements in sentences, without those that an interval leaves undecided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sightline.evaluation.narration.facts import FOCUS, SIDES, Measurements

_ZONE_PHRASES = {
    "upper": "the upper zones",
    "middle": "the middle zones",
    "lower": "the lower zones",
    "perihilar": "the perihilar regions",
    "costophrenic": "the costophrenic angles",
    "cardiac": "the heart",
    "mediastinal": "the mediastinum",
}


def narrate(measurements: Measurements, score_sentences: Mapping[str, str] | None = None) -> str:
    """Write a narrative: headline, finding by finding, perspectives, recommendations.

    A clause is written only where the whole 95 % interval is on one side, and gives its number; a model without a clear
    result gets no sentence.

    Parameters
    ----------
    measurements : Measurements
        Measurements of the maps.
    score_sentences : mapping of str to str, optional
        Model to a sentence on its localization, for the perspectives.

    Returns
    -------
    str
        Markdown.
    """
    parts = [*_headline(measurements), ""]
    for number, finding in enumerate(measurements.findings, 1):
        lines = [
            f"- **{model}:** {sentence}"
            for model in measurements.models
            if (sentence := _sentence(measurements, model, finding))
        ]
        if lines:
            parts += [f"{number}. {finding}", "", *lines, ""]
    parts += [
        "Perspectives",
        "",
        *_perspectives(measurements, score_sentences or {}),
        "",
        "Recommendations",
        "",
        *_recommendations(measurements),
    ]
    return "\n".join(parts).strip() + "\n"


def _headline(facts: Measurements) -> Iterator[str]:
    clear = [
        (m, v, gap)
        for m in facts.models
        for v in facts.models
        if m != v and (gap := facts.difference(m, v, "average")) is not None and gap["low"] > 0
    ]
    for model, versus, gap in clear:
        size = f"{_format_difference(gap)} in {FOCUS}, all cases"
        yield f"Maps of {model} are more focused than those of {versus} ({size})."
    if not clear:
        yield "No network's maps are clearly more focused than another's."


def _sentence(facts: Measurements, model: str, finding: str) -> str:
    """Write where the evidence is clearly denser, densest first, and the side that it leans to."""
    dense = []
    for place in _ZONE_PHRASES:
        number = facts.estimate(model, finding, place)
        if number is not None and number["low"] > 1:
            dense.append(
                (
                    number["mean"],
                    f"{_ZONE_PHRASES[place]} ({number['mean']:.2f} [{number['low']:.2f}, {number['high']:.2f}])",
                    place,
                )
            )
    dense.sort(reverse=True)
    thirds = [d for d in dense if d[2] in ("upper", "middle", "lower")][:1]
    others = [d for d in dense if d[2] not in ("upper", "middle", "lower")][:1]
    phrases = [text for _, text, _ in sorted(thirds + others, reverse=True)]
    sides = [(n["mean"], s, n) for s in SIDES if (n := facts.estimate(model, finding, s)) is not None and n["low"] > 1]
    clauses = [f"Evidence is denser over {' and '.join(phrases)}."] if phrases else []
    if sides:
        _, side, n = max(sides)
        clauses.append(f"It leans to the {side} ({n['mean']:.2f} [{n['low']:.2f}, {n['high']:.2f}]).")
    return " ".join(clauses)


def _perspectives(facts: Measurements, scores: Mapping[str, str]) -> Iterator[str]:
    for model in facts.models:
        focus = facts.estimate(model, "average", FOCUS)
        if focus is not None:
            yield (
                f"- {model}: Gini index {focus['mean']:.2f} [{focus['low']:.2f}, {focus['high']:.2f}] over "
                f"{focus['n']:.0f} maps of {focus['patients']:.0f} patients."
            )
    yield from (f"- {text}" for text in scores.values())


def _recommendations(facts: Measurements) -> Iterator[str]:
    few = [f for f in facts.findings if (n := facts.estimate(facts.models[0], f, FOCUS)) is None or n["patients"] < 10]
    if few:
        yield f"- Collect more cases of {', '.join(few)}: fewer than ten patients decide little."
    yield "- Read every sentence with its number; results without a sentence are undecided."


def _format_difference(gap: Mapping[str, float]) -> str:
    return f"{gap['mean']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"

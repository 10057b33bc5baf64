"""The commands that describe the maps of a run in words and check such words."""

from __future__ import annotations

import re
from pathlib import Path

from sightline._util.files import write_text_atomic
from sightline.errors import DataError
from sightline.evaluation.narration import Measurements, narrate
from sightline.evaluation.narration.endpoint import Endpoint, request_narrative
from sightline.evaluation.narration.measure import permutation_controls, tabulate_claims
from sightline.runs.run import Run


def check_narrative(run: Path, text: Path, *, models: tuple[str, ...] = ()) -> None:
    """Check what a text claims of a run's maps against what was measured, and print every claim with its verdict.

    Parameters
    ----------
    run
        Run folder of a pre-training study.
    text
        File with the text, whoever wrote it.
    models
        Names the text gives to models, as NAME=MODEL, where they differ from the run's.
    """
    from rich.console import Console
    from rich.markup import escape

    opened = Run.open(run)
    facts = Measurements(opened.table("map_measurement_means"), opened.table("map_measurement_differences"))
    stated = dict(pair.split("=", 1) for pair in models if "=" in pair)
    known = {name: name for name in facts.models} | stated
    try:
        body = text.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{text} cannot be read as text: {error}") from error
    console = Console()
    for row in tabulate_claims(body, facts, known).to_dict("records"):
        console.print(f"{row['verdict']}: {escape(str(row['text']))}", soft_wrap=True)
        console.print(
            f"    {row['kind']}, {row['model']}, {row['finding']}: {escape(str(row['reason']))}", soft_wrap=True
        )
    for name, rate in permutation_controls(body, facts, known).items():
        console.print(f"contradicted, {name}: {'nothing checkable' if rate != rate else f'{rate:.0%}'}")


def write_narrative(
    run: Path,
    *,
    url: str = "",
    model: str = "",
    with_measurements: bool = False,
    api_key_variable: str = "OPENAI_API_KEY",
    timeout: float = 60.0,
    price: float = 0.0,
    max_cost: float = 1.0,
) -> None:
    """Write a reading of a run's maps and check it: by the numbers, or by a vision-language model before the panel.

    Parameters
    ----------
    run
        Run folder of a pre-training study, with its report.
    url
        Base address of a vision-language model with OpenAI's chat-completions API, https://HOST/v1; without it,
        sentences are written from the measurements.
    model
        Name of the model at that address.
    with_facts
        Give the model the measurements along with the figure.
    key
        Environment variable that holds the API key; the key is written nowhere.
    timeout
        Seconds for each of three attempts.
    price
        Price of a thousand tokens, in any currency.
    cap
        Most that one call may cost, in the same currency; a call that may cost more is not made.
    """
    opened = Run.open(run)
    facts = Measurements(opened.table("map_measurement_means"), opened.table("map_measurement_differences"))
    if not url:
        text = narrate(facts)
        write_text_atomic(run / "narrative.md", text)
        print(text)
        return
    panel = run / "figures" / "panel.png"
    if not panel.is_file():
        raise DataError(f"{panel} is not there; `sightline report {run}` draws it")
    endpoint = Endpoint(url, model, api_key_variable, timeout=timeout, price_per_1000_tokens=price, max_cost=max_cost)
    name = re.sub(r"[^\w.-]+", "-", model) or "model"
    told = facts.table.to_csv(index=False, float_format="%.3f") if with_measurements else ""
    text = request_narrative(endpoint, panel, run / "narratives" / f"{name}.json", told)
    write_text_atomic(run / "narratives" / f"{name}.md", text + "\n")
    check_narrative(run, run / "narratives" / f"{name}.md")

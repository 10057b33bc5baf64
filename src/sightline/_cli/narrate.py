"""The commands `narrate write` and `narrate check`: describe the maps of a run in words, and check such a text."""

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
    """Check the claims of a text about a run's maps against the measurements, and print every claim with its verdict.

    Parameters
    ----------
    run
        Run folder of a pre-training study.
    text
        File with the text.
    models
        Names of models in the text, as NAME=MODEL, where they differ from those of the run.
    """
    from rich.console import Console
    from rich.markup import escape

    opened = Run.open(run)
    measurements = Measurements(opened.table("map_measurement_means"), opened.table("map_measurement_differences"))
    aliases = dict(pair.split("=", 1) for pair in models if "=" in pair)
    model_by_name = {name: name for name in measurements.models} | aliases
    try:
        body = text.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{text} cannot be read as text: {error}") from error
    console = Console()
    for row in tabulate_claims(body, measurements, model_by_name).to_dict("records"):
        console.print(f"{row['verdict']}: {escape(str(row['text']))}", soft_wrap=True)
        console.print(
            f"    {row['kind']}, {row['model']}, {row['finding']}: {escape(str(row['reason']))}", soft_wrap=True
        )
    for name, rate in permutation_controls(body, measurements, model_by_name).items():
        console.print(f"contradicted, {name}: {'no claim can be checked' if rate != rate else f'{rate:.0%}'}")


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
    """Describe a run's maps in words, from the measurements or by a vision-language model, and check the text.

    Parameters
    ----------
    run
        Run folder of a pre-training study, with its report.
    url
        Base address of a vision-language model with OpenAI's chat-completions API, https://HOST/v1; without it,
        sentences are written from the measurements.
    model
        Name of the model at that address.
    with_measurements
        Send the measurements to the model together with the figure.
    api_key_variable
        Name of the environment variable that holds the API key; the key itself is not stored.
    timeout
        Time limit of each of three attempts, in seconds.
    price
        Price of a thousand tokens, in any currency.
    max_cost
        Greatest cost of the request, in the same currency; a request that may cost more is not sent.
    """
    opened = Run.open(run)
    measurements = Measurements(opened.table("map_measurement_means"), opened.table("map_measurement_differences"))
    if not url:
        text = narrate(measurements)
        write_text_atomic(run / "narrative.md", text)
        print(text)
        return
    panel = run / "figures" / "panel.png"
    if not panel.is_file():
        raise DataError(f"{panel} does not exist; `sightline report {run}` draws it")
    endpoint = Endpoint(url, model, api_key_variable, timeout=timeout, price_per_1000_tokens=price, max_cost=max_cost)
    name = re.sub(r"[^\w.-]+", "-", model) or "model"
    table = measurements.table.to_csv(index=False, float_format="%.3f") if with_measurements else ""
    text = request_narrative(endpoint, panel, run / "narratives" / f"{name}.json", table)
    write_text_atomic(run / "narratives" / f"{name}.md", text + "\n")
    check_narrative(run, run / "narratives" / f"{name}.md")

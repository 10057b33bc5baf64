"""Figures of phantom runs for the pages of the studies: copied out of a run's folder, with what they are of.

    python docs/_build/figures.py RUN...

A run's study says which page it serves: what stands there between the two comments is written anew from run.json.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from sightline.runs.run import Run

DOCS = Path(__file__).resolve().parents[1]
WEAK = 0.65
BEGIN, END = "<!-- figures of a phantom run -->", "<!-- end of the figures -->"
CHOSEN = {
    "localization": ("localization", "decrease", "size", "shapes", "example-1", "example-7"),
    "trust": ("cascade", "agreement", "utility"),
    "gaze": ("gaze", "correctness", "regions"),
    "pretraining": ("curves", "gains"),
    "selfexplain": ("ladder", "froc", "budget"),
}
"""Of the figures of a report, those that its page shows, where the run has them."""


def section(run: Run) -> str:
    """The lines between the comments: what the figures are of, then each with its caption."""
    study = str(run.info["study"])
    lines = [BEGIN, "", "## Figures of a small run", "", _describe_run(run.info), ""]
    said = captions((run.path / "report.html").read_text("utf-8"))
    for name in CHOSEN[study]:
        file = run.path / "figures" / f"{name}.svg"
        if file.exists():
            target = f"{study}-{name}.svg"
            shutil.copyfile(file, DOCS / "figures" / target)
            caption = said.get(name, "")
            lines += [
                "<figure>",
                f'<img class="plot" src="../figures/{target}" alt="{name}" loading="lazy">',
                f"<figcaption>{caption}</figcaption>",
                "</figure>",
                "",
            ]
    return "\n".join([*lines, END])


def captions(report: str) -> dict[str, str]:
    """Figure -> its caption in the report, without its number and links."""
    captions = {}
    for figure in re.findall(r"<figure.*?</figure>", report, re.DOTALL):
        name = re.search(r'figures/([\w-]+)\.svg|id="([\w-]+)-hatch"', figure)
        caption = re.search(r"<figcaption[^>]*>(.*?)</figcaption>", figure, re.DOTALL)
        if name and caption:
            text = re.sub(r"<a .*?</a>|</?(?!code)[a-z]+[^>]*>", "", caption[1].replace("<br>", " · "))
            captions[name[1] or name[2]] = re.sub(r"^Figure \d+\.\s*", "", " ".join(text.split()))
    return captions


def _describe_run(info: dict[str, Any]) -> str:
    data = info["dataset"]
    learned = [(m["name"], m["training"]) for m in info.get("models", ()) if m.get("training")]
    each: dict[str, list[tuple[str, float | None]]] = {}
    for name, training in learned:
        each.setdefault(training["data"].partition(",")[0], []).append((name, training["val_auroc"]))
    networks = "; ".join(f"{_named(some)} from `{spec}`" for spec, some in each.items())
    trained = f" Networks, with their validation AUROC: {networks}." if each else ""
    if any((t["val_auroc"] or 0) < WEAK for _, t in learned):
        trained += " Networks with such a low AUROC have little to explain, which the figures show."
    return (
        f"Figures of the report on `{data['spec']}`: {data['radiographs']} rendered radiographs of {data['patients']} "
        f"simulated patients, with simulated readers, gaze and reports.{trained} They show the output of the study, "
        "and not how well methods work on patients."
    )


def _named(some: list[tuple[str, float | None]], most: int = 10) -> str:
    """Each network with its AUROC; of more than can be read, how many there are and between what they lie."""
    known = [auroc for _, auroc in some if auroc is not None]
    if len(some) > most and known:
        return f"{len(some)} ({min(known):.2f} to {max(known):.2f})"
    return ", ".join(name if auroc is None else f"{name} ({auroc:.2f})" for name, auroc in some)


def put(page: Path, text: str) -> None:
    """Write the section into a page: where it stood before, else before its limits."""
    old = page.read_text()
    if BEGIN in old:
        new = re.sub(f"{BEGIN}.*?{END}", lambda _: text, old, flags=re.DOTALL)
    else:
        new = old.replace("## Limits", f"{text}\n\n## Limits", 1)
    page.write_text(new)


def main(paths: list[str]) -> None:
    for path in paths:
        run = Run.open(path)
        page = DOCS / "studies" / f"{run.info['study']}.md"
        put(page, section(run))
        print(page)


if __name__ == "__main__":
    main(sys.argv[1:])

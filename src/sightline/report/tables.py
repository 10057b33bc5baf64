"""Tables of any study, as text in cells: one number with its interval per cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.report.averages import average_text
from sightline.report.estimate import AVERAGE, Estimate, format_decimal
from sightline.report.figures import compared_series
from sightline.report.published_results import load_published
from sightline.report.run_view import RunView
from sightline.report.summary import PROTOCOL_FIELDS, threshold_origin
from sightline.report.titles import metric_title

_MAX_FAILURES = 12
CEILING = "iou-ceiling"
"""Level that stands beside IoU."""


@dataclass(frozen=True, slots=True)
class Table:
    """Table of text cells."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right_aligned: tuple[bool, ...]
    table_name: str = ""
    """The same data in full, relative to the report."""

    @classmethod
    def create(
        cls,
        caption: str,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        text_columns: int = 1,
        table_name: str = "",
    ) -> Table:
        """Make a table whose first columns are text and the others numbers.

        Parameters
        ----------
        caption : str
            Caption.
        header : sequence of str
            Names of the columns.
        rows : sequence of sequences of str
            Cells as text.
        text_columns : int
            Number of columns of text.
        table_name : str
            Name of the table of the run that has the same data in full.

        Returns
        -------
        Table
            The table.
        """
        right = tuple(i >= text_columns for i in range(len(header)))
        return cls(caption, tuple(header), tuple(map(tuple, rows)), right, table_name)


def finding_tables(view: RunView) -> list[Table]:
    """Make a table for each main metric: findings in rows, the sources of the figure in columns.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        The tables; none if the run has no data for them.
    """
    sources = [s.source for s in compared_series(view)]
    findings = [*view.findings, *([AVERAGE] if len(view.findings) > 1 else [])]
    tables = []
    for metric in view.main_metrics if sources else ():
        rows, compared = [], [view.source_for_metric(s, metric) for s in sources]
        for finding in findings:
            numbers = [view.estimate(s, metric, finding) for s in compared]
            n = numbers[0]
            name = "Average" if finding == AVERAGE else finding
            cells = [x.text(3) for x in numbers]
            if finding == AVERAGE:
                cells = [average_text(view, s, metric) for s in compared]
            rows.append([name, f"{n.n:,}", f"{n.patients:,}", *cells])
        head = ["Finding", "Maps", "Patients", *map(view.label, compared)]
        tables.append(
            Table.create(f"{metric_title(metric)} by finding, mean [95 % interval]", head, rows, table_name="estimates")
        )
    return tables


def comparison_table(view: RunView) -> Table | None:
    """Make the table of every source by every metric.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    ceiling = [CEILING] if any(view.estimate(s, CEILING).is_defined for s in view.sources) else []
    columns = [*view.metrics[:1], *ceiling, *view.metrics[1:]]  # the ceiling beside the overlap that it limits
    rows = [[view.label(s), view.kind(s), *(average_text(view, s, m) for m in columns)] for s in view.sources]
    head = ["Source", "Kind", *map(metric_title, columns)]
    caption = "Average over findings, mean [95 % interval]"
    if ceiling:
        caption += "; the ceiling is the best IoU that any map of the same grid can reach"
    return Table.create(caption, head, rows, 2, "estimates") if rows else None


def difference_table(view: RunView) -> Table:
    """Make the table of paired differences from the reader and from the strongest control.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table
        The table.
    """
    against = [v for v in (view.reader, view.control) if v]
    columns = [(m, view.source_for_metric(v, m)) for m in view.main_metrics for v in against]
    rows = []
    for source in view.sources:
        numbers = [view.difference(source, v, m) if v != source else None for m, v in columns]
        if any(n is not None and n.is_defined for n in numbers):
            rows.append([view.label(source), *("" if n is None else n.text(3) for n in numbers)])
    head = ["Source", *(f"{metric_title(m)} minus {view.label(v)}" for m, v in columns)]
    return Table.create("Paired differences of averages [95 % interval]", head, rows, table_name="differences")


def accuracy_table(view: RunView) -> Table:
    """Make the table of AUROC by model and finding.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table
        The table.
    """
    rows = [
        [
            a.model,
            "Average" if a.finding == AVERAGE else a.finding,
            a.estimate.text(3),
            *(f"{v:,}" if v else "" for v in (a.positives, a.estimate.n, a.estimate.patients)),
        ]
        for a in view.aurocs
    ]
    head = ["Model", "Finding", "AUROC [95 % interval]", "Positive", "Studies", "Patients"]
    return Table.create("AUROC by model and finding", head, rows, 2, "classification")


def model_table(view: RunView) -> Table | None:
    """Make the table of the training of every model.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    rows = []
    for model in view.info.get("models", ()):
        training: Mapping[str, Any] = model.get("training") or {}
        value = training.get("val_auroc")
        rows.append(
            [
                str(model["name"]) + ("" if training else " (untrained: control)"),
                f"{model.get('arch', '')}, {model.get('resize', '')} to {model.get('side', '?')}²",
                "; ".join([training.get("data", "–"), *training.get("derived", ())]),
                str(training.get("checkpoint") or "–")[:12],
                f"{int(model['parameters']):,}" if model.get("parameters") else "–",
                "–" if training.get("fraction") is None else f"{100 * training['fraction']:g} %",
                *("–" if training.get(k) is None else f"{training[k]:g}" for k in ("epochs", "seed")),
                "–" if value is None else format_decimal(float(value)),
            ]
        )
    head = ["Model", "Network", "Trained on", "Checkpoint", "Parameters", "Share", "Epochs", "Seed", "Val. AUROC"]
    return Table.create("Training records", head, rows, 4) if rows else None


def status_table(view: RunView) -> Table | None:
    """Make the table of maps by source and status.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    if not len(view.status):
        return None
    counts = view.status.pivot_table(
        index="source", columns="status", values="maps", aggfunc="sum", fill_value=0, sort=False
    )
    columns = sorted(map(str, counts.columns), key=lambda s: (s != "ok", s))
    listed = [s for s in view.sources if s in counts.index]
    order = [*listed, *(s for s in counts.index if s not in listed)]
    rows = [[view.label(s), *(f"{int(counts.loc[s, c]):,}" for c in columns)] for s in order]
    return Table.create("Maps by status", ["Source", *columns], rows, table_name="status")


def failure_table(view: RunView) -> Table | None:
    """Make the table of the first maps that failed, with reasons.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    failed = view.expected_maps[view.expected_maps["status"] != "ok"]
    failed = failed[["source", "radiograph", "finding", "status", "reason"]]
    if not len(failed):
        return None
    rows = [[view.label(r[0]), *map(str, r[1:])] for r in failed.head(_MAX_FAILURES).itertuples(index=False, name=None)]
    caption = f"The first {len(rows)} of {len(failed):,} failures" if len(failed) > len(rows) else "Failures"
    return Table.create(caption, ["Source", "Radiograph", "Finding", "Status", "Reason"], rows, 5, "maps")


def protocol_table(view: RunView) -> Table:
    """Make the table of every source under every protocol.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table
        The table.
    """
    columns = [(m, p) for m in view.main_metrics for p in view.protocols]
    rows = [[view.label(s), *(average_text(view, s, m, p) for m, p in columns)] for s in view.sources]
    head = ["Source", *(f"{metric_title(m)}, {p}" for m, p in columns)]
    return Table.create("Averages under each protocol, mean [95 % interval]", head, rows, table_name="estimates")


def protocol_fields_table(view: RunView) -> Table | None:
    """Make the table of the fields of each protocol with their meaning.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    protocols: Mapping[str, Mapping[str, Any]] = view.info.get("protocols", {})
    if not protocols:
        return None
    fields = [f for f in dict.fromkeys(k for p in protocols.values() for k in p) if f != "name"]
    meaning = {f: "; ".join(filter(None, (PROTOCOL_FIELDS.get(f, ""), threshold_origin(view, f)))) for f in fields}
    rows = [[f, meaning[f], *(_format_value(p.get(f)) for p in protocols.values())] for f in fields]
    return Table.create("Protocol records", ["Field", "Meaning", *protocols], rows, 2 + len(protocols))


def _format_value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{finding} {number:g}" for finding, number in value) or "none"
    return {True: "yes", False: "no", None: "–"}[value] if value is None or isinstance(value, bool) else str(value)


def published_finding_table(view: RunView) -> Table:
    """Make the table of this run and of CheXlocalize by finding.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table
        The table.
    """
    sources = [s for s in (view.best, view.reader) if s]
    rows = []
    for fact in load_published()["by_finding"]:
        finding = fact["finding"]
        mean, low, high = fact["grad_cam_iou"]
        hit, hit_low, hit_high = fact["human_hit"]
        rows.append(
            [
                finding,
                *(view.estimate(s, "iou", finding).text(3) for s in sources),
                Estimate(mean, low, high, 0, 0).text(3),
                format_decimal(fact["human_iou"], 3),
                Estimate(hit, hit_low, hit_high, 0, 0).text(3),
            ]
        )
    published = ["CheXlocalize: Grad-CAM, IoU", "CheXlocalize: radiologist, IoU", "CheXlocalize: radiologist, hit rate"]
    head = ["Finding", *(f"This run: {view.label(s)}, IoU" for s in sources), *published]
    return Table.create("This run and the published results (of another data set, with another convention)", head, rows)


def published_statement_table() -> Table:
    """Make the table of the numbers that the text of the publication states.

    Returns
    -------
    Table
        The table.
    """
    rows = [[s["what"], s["value"]] for s in load_published()["statements"]]
    return Table.create("Stated in the text of the publication", ["Quantity", "Published value"], rows)

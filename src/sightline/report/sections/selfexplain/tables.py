"""Tables of a self-explaining study: localization, accuracy, label budget, faithfulness, costs and ratings."""

from __future__ import annotations

from sightline.data.reader_study.rating_sheets import QUESTIONS
from sightline.report.phrasing import count_noun
from sightline.report.run_view import AVERAGE, Estimate, RunView, format_decimal, metric_title
from sightline.report.sections.selfexplain.results import (
    MAIN_METRIC,
    intrinsic_source,
    ordered_sources,
    read_table,
    to_estimate,
)
from sightline.report.tables import Table
from sightline.stats.faithfulness import RANDOM_ORDER
from sightline.stats.froc import MEAN_OVER_RATES


def localization_table(view: RunView) -> Table | None:
    """Make the table of every source by overlap, pointing and FROC.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    froc = read_table(view, "froc")
    if froc.empty:
        return None
    several = (froc["finding"] == AVERAGE).any()
    part = froc[(froc["rate"] == MEAN_OVER_RATES) & ((froc["finding"] == AVERAGE) | (not several))]
    reads = {
        (r["source"], r["radiographs"]): Estimate(r["mean"], r["low"], r["high"], r["n"], r["patients"])
        for r in part.to_dict("records")
    }
    metrics = [m for m in (MAIN_METRIC, "pr-area", "iou", "pointing-game") if (view.estimates["metric"] == m).any()]
    rows = []
    for s in ordered_sources(view):
        numbers = [view.estimate(s, m) for m in metrics]
        curves = [reads.get((s, films), Estimate.undefined()) for films in ("annotated", "all")]
        counts = [f"{numbers[0].n:,}", f"{numbers[0].patients:,}"]
        rows.append([view.label(s), *(n.text(3) for n in (*numbers, *curves)), *counts])
    caption = (
        "Localization averaged over findings, mean [95 % interval]. FROC: share of the marks' pieces found, mean over "
        "0.25, 0.5, 1, 2 and 4 false candidates a film; on films that show the finding, and on all that were explained"
    )
    head = ["Source", *map(metric_title, metrics), "FROC, with the finding", "FROC, all films", "Maps", "Patients"]
    return Table.create(caption, head, rows, 1, "estimates")


def noninferiority_table(view: RunView) -> Table | None:
    """Make the table of paired differences of AUROC with both intervals and the verdict.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "noninferiority")
    if table.empty:
        return None
    areas = read_table(view, "discrimination").set_index(["model", "finding"])["auroc"].to_dict()
    rows = []
    for r in table.to_dict("records"):
        each = [format_decimal(areas.get((r[k], r["finding"]), float("nan")), 3) for k in ("model", "versus")]
        delong = (
            "–"
            if r["delong_low"] != r["delong_low"]
            else f"{format_decimal(r['delong_low'], 3)}, {format_decimal(r['delong_high'], 3)}"
        )
        name = "Average" if r["finding"] == AVERAGE else r["finding"]
        gap = Estimate(r["mean"], r["low"], r["high"], 0, 0).text(3)
        rows.append(
            [
                name,
                r["model"],
                *each,
                gap,
                delong,
                r["verdict"],
                f"{r['n']:,} / {r['positives']:,}",
                f"{r['patients']:,}",
            ]
        )
    margin = float(table["margin"].iloc[0])
    caption = (
        f"AUROC with the element less without, on the same films: no worse ('non-inferior') means an interval above "
        f"−{margin:g}, which was set before the comparison. A row of every training: another seed may change more than "
        "patients do"
    )
    head = [
        "Finding",
        "Network",
        "With",
        "Without",
        "Difference [95 % over patients]",
        "DeLong 95 %",
        "Verdict",
        "Labels / positive",
        "Patients",
    ]
    return Table.create(caption, head, rows, 2, "noninferiority")


def label_budget_table(view: RunView) -> Table | None:
    """Make the table of the label budget.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "label_budget")
    if table.empty:
        return None
    by = {
        (r["role"], r["n_annotated"]): Estimate(r["mean"], r["low"], r["high"], r["n"], r["patients"]).text(3)
        for r in table.to_dict("records")
    }
    rows = [
        [f"{k:,}", by.get(("self-explaining", k), "–"), by.get(("detector", k), "–")]
        for k in sorted(set(table["n_annotated"]))
    ]
    n, patients = int(table["n"].max()), int(table["patients"].max())
    caption = (
        f"{metric_title(MAIN_METRIC)} by marked films, averaged over findings, mean [95 % interval]; "
        f"{count_noun(n, 'map')} of "
        f"{count_noun(patients, 'patient')}"
    )
    head = ["Marked films", "Element, labels and these marks", "Detector, these marks"]
    return Table.create(caption, head, rows, 1, "label_budget")


def label_cost_table(view: RunView) -> Table | None:
    """Make the table of the annotations that each kind of network needs, and of their cost.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    if not intrinsic_source(view):
        return None
    box = "some seconds a box: 7 or 35 on photographs, by how it is drawn (arXiv:1708.02750)"
    outline = "about a minute an outline: 79 seconds on photographs (arXiv:1405.0312)"
    rows = [
        ["Element, and any post-hoc map", "one label an image and finding", "seconds, or none: read from reports"],
        ["RetinaNet", "a box around every piece", box],
        ["U-Net, supervised element", "an outline of every piece", outline],
    ]
    caption = "What the labels cost; times are of others and of photographs, for orientation: no reader was timed here"
    return Table.create(caption, ["Network", "Is told", "Takes a person"], rows, 3)


def necessity_sufficiency_table(view: RunView) -> Table | None:
    """Make the table of necessity and sufficiency, compared with chance.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "perturbation_summary")
    if table.empty:
        return None
    names = {
        "deletion": "Necessity: probability while the map's highest places are blanked ↓",
        "insertion": "Sufficiency: probability while all but its highest places are blurred ↑",
        "road": "ROAD: lowest less highest places filled in ↑",
    }
    rows = []
    for r in table[table["measure"].isin(list(names))].to_dict("records"):
        verdict = r["verdict"] if isinstance(r["verdict"], str) else "–"
        numbers = [
            to_estimate(r),
            to_estimate(r, "gap", "gap_low", "gap_high"),
            to_estimate(r, "random", "random_low", "random_high"),
        ]
        name = "random order" if r["method"] == RANDOM_ORDER else view.label(r["method"])
        rows.append([names[str(r["measure"])], name, *(n.text(3) for n in numbers), verdict, f"{r['n']:,}"])
    caption = (
        "Does the decision rest on what the map shows? Areas over the shares of the film erased or shown, mean [95 % "
        "interval]; less the same with the map of another patient with the finding, which the verdict is of; and less "
        "that of random places, without which no verdict counts"
    )
    head = ["Question", "Map", "Area", "Less another patient's map", "Less random places", "Verdict", "Cases"]
    return Table.create(caption, head, rows, 2, "perturbation_summary")


def cost_table(view: RunView) -> Table | None:
    """Make the table of the computing time of every network and method.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    Table or None
        The table; None if the run has no data for it.
    """
    table = read_table(view, "timings")
    if table.empty:
        return None
    forward = table[table["operation"] == "forward"].set_index("model")["minimum"].to_dict()
    rows = []
    for r in table.to_dict("records"):
        source = f"{r['model']}/{r['operation']}"
        name = f"forward · {r['model']}" if r["operation"] == "forward" else view.label(source)
        times = [format_decimal(r[k], 1) for k in ("minimum", "median", "maximum", "cpu_median")]
        rows.append([name, f"{r['n_parameters']:,}", *times, format_decimal(r["minimum"] / forward[r["model"]], 1)])
    caption = (
        "What maps cost: milliseconds an image for all findings at once, forward included, of "
        f"{int(table['rounds'].iloc[0])} rounds in turn, two images at a time; last column in forwards of the network"
    )
    head = ["What", "Parameters", "Least", "Median", "Most", "Processor time", "Forwards"]
    return Table.create(caption, head, rows, 1, "timings")


def rating_tables(view: RunView) -> list[Table]:
    """Make the tables of the ratings by simulated readers: means, differences and agreement.

    Parameters
    ----------
    view : RunView
        The run.

    Returns
    -------
    list of Table
        The tables; none if the run has no data for them.
    """
    table = read_table(view, "ratings_means")
    if table.empty:
        return []
    asked = [q.name for q in QUESTIONS] + ["choice"]
    by = {(r["source"], r["question"]): to_estimate(r) for r in table[table["reader"] == "all"].to_dict("records")}
    sources = list(dict.fromkeys(table["source"]))
    rows = [[view.label(s), *(by[s, q].text() for q in asked), f"{by[s, 'location'].n:,}"] for s in sources]
    caption = (
        "Simulated readers, who rate by the scores above: the analysis is shown at work, nothing is learned of what "
        "radiologists think. Mean on the scale of 1 to 5, share chosen, [95 % interval]"
    )
    made = [Table.create(caption, ["Map", *(q.title() for q in asked), "Ratings"], rows, 1, "ratings_means")]
    rows = []
    for r in read_table(view, "ratings_contrasts").to_dict("records"):
        p = "< 0.01" if r["p_holm"] < 0.01 else format_decimal(r["p_holm"])
        between = f"{view.label(r['source'])} less {view.label(r['versus'])}"
        rows.append([r["question"], between, to_estimate(r).text(), p, f"{100 * r['wins']:.0f} %"])
    caption = "Paired differences of simulated ratings, p corrected by Holm, share of pairs won"
    made.append(Table.create(caption, ["Question", "Maps", "Difference", "p", "Won"], rows, 2, "ratings_contrasts"))
    rows = []
    for r in read_table(view, "ratings_agreement").to_dict("records"):
        kind = "between readers" if r["kind"] == "between" else "a reader again"
        kappa = to_estimate(r, "kappa").text()
        rows.append([r["question"], kind, r["reader"], r["versus"], kappa, f"{r['n']:,}"])
    caption = "Kappa of simulated readers (quadratic weights; of the choice nominal), [95 % interval]"
    head = ["Question", "Kind", "Reader", "With", "Kappa", "Pairs"]
    made.append(Table.create(caption, head, rows, 4, "ratings_agreement"))
    return made

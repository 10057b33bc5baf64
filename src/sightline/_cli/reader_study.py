"""`sightline readers`: make a study, invite readers, serve it, and take home what they said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cyclopts import App
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import CaseState
from sightline.data.reader_study.schedule import invite_reader as enter
from sightline.web.reader_study.create import StudyInputs
from sightline.web.reader_study.create import create_study as make
from sightline.web.server.security import server_url

DEFAULT_PORT = 8460
TRIAL_FOLDER = Path("runs/readers")
app = App(name="readers", group_commands="Commands")


@app.default
def run_trial(location: Path = TRIAL_FOLDER, *, port: int = DEFAULT_PORT) -> None:
    """Try it: a small study of the phantom, with one reader invited, opened on this machine.

    Parameters
    ----------
    place
        Folder of the trial study; made if it is not there.
    port
        Port of the trial study.
    """
    if not location.exists():
        make("phantom:12", location, tasks=("contour", "point"), title="Trial of a reader study")
    name = "me"
    with StudyDatabase.open(location) as book:
        token = book.rotate_token(name) if any(r.name == name for r in book.readers()) else enter(book, name)
    _serve(str(location), "127.0.0.1", port, (), token)


@app.command
def create(
    data_or_run: str,
    *,
    tasks: tuple[str, ...] = ("contour", "point"),
    out: str = "study",
    findings: str = "",
    max_radiographs: int = 0,
    absent_ratio: float = 0.25,
    repeat_share: float = 0.1,
    sources: tuple[str, ...] = (),
    seed: int = 0,
    title: str = "Reader study",
) -> None:
    """Make a study from a data set, or from a run whose maps are to be judged.

    Parameters
    ----------
    source
        Data set, as NAME:PATH, or a run folder.
    tasks
        What readers do: contour, point, search (click in the order of looking), or rate and choice (blinded maps of a
        run).
    out
        Folder of the study, or postgresql://USER@HOST/DATABASE.
    findings
        Findings, comma-separated; all by default.
    cases
        Radiographs in the study, drawn at random; 0 takes all.
    absent
        Cases without the finding, as a share of those with it, so that a question does not give its answer away.
    repeats
        Share of the cases that each reader sees twice, far apart, for intra-reader agreement.
    sources
        Whose maps are judged, as MODEL/METHOD; by default those of the run's models.
    seed
        Seed of the choice of cases and of each reader's order.
    title
        Title that readers see in their browser.
    """
    with make(
        data_or_run,
        out,
        tasks=tasks,
        findings=findings,
        max_radiographs=max_radiographs,
        absent_ratio=absent_ratio,
        repeat_share=repeat_share,
        sources=sources,
        seed=seed,
        title=title,
    ) as book:
        said = ", ".join(f"{count} × {task}" for task, count in book.count_cases().items())
    print(
        f"{book.location}: {said}\nnext: sightline readers invite {book.location} NAME; sightline readers "
        f"serve {book.location}"
    )


@app.command
def invite(location: str, name: str, *, renew: bool = False, base_url: str = "") -> None:
    """Invite a reader: prints a personal link, which cannot be shown again.

    Parameters
    ----------
    place
        Folder or database of the study.
    name
        Name of the reader, as in tables and reports.
    renew
        Give a reader who lost the link a new one; the old one ends.
    base
        Address at which readers reach the server; by default this machine's.
    """
    with StudyDatabase.open(location) as book:
        token = book.rotate_token(name) if renew else enter(book, name)
    print(invitation_link(base_url or server_url("127.0.0.1", DEFAULT_PORT), token))


@app.command
def revoke(location: str, name: str) -> None:
    """Shut a reader out, at once. What the reader said stays.

    Parameters
    ----------
    place
        Folder or database of the study.
    name
        Name of the reader.
    """
    with StudyDatabase.open(location) as book:
        book.revoke(name)


@app.command
def serve(
    location: str, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT, host_names: tuple[str, ...] = ()
) -> None:
    """Serve a study in the browser. Readers open their links; everyone else sees nothing.

    Parameters
    ----------
    place
        Folder or database of the study.
    host
        Address to listen on; for readers on other machines, put a proxy with TLS in front.
    port
        Port to listen on.
    names
        Host names of that proxy, as readers see them.
    """
    _serve(location, host, port, host_names)


def invitation_link(base: str, token: str) -> str:
    """Behind '#', where it reaches no server and no log.

    >>> invitation_link("https://study.example", "1-abc")
    'https://study.example/#token=1-abc'
    """
    return f"{base.rstrip('/')}/#token={token}"


def _serve(location: str, host: str, port: int, host_names: Sequence[str], token: str = "") -> None:
    from sightline.web.reader_study.server import reader_app
    from sightline.web.server.security import serve as listen

    with StudyDatabase.open(location) as book:
        study = book.study()
        app_ = reader_app(book, StudyInputs.open(study.data_or_run, study.sources, bool(study.sources)))
        if token:
            print(f"your link: {invitation_link(server_url(host, port), token)}")
        listen(app_, host, port, host_names=host_names, app_authenticates=True)


@app.command
def status(location: str) -> None:
    """Show who has read how much, and how long it took.

    Parameters
    ----------
    place
        Folder or database of the study.
    """
    with StudyDatabase.open(location) as book:
        study = book.study()
        table = Table(title=escape(f"{study.title}: {study.dataset_spec}"), title_justify="left")
        for head in ("reader", *study.tasks, "minutes", "seconds a case"):
            table.add_column(head, justify="left" if head == "reader" else "right")
        for reader in book.readers():
            turns, states = book.assignments(reader.number), book.case_states(reader.number)
            cells = [_count_finished([states.get(t.key) for t in turns if t.case.task == task]) for task in study.tasks]
            done = [s.seconds for s in states.values() if s.finished]
            minutes = f"{sum(s.seconds for s in states.values()) / 60:.1f}"
            name = reader.name + (" (revoked)" if reader.revoked else "")
            table.add_row(escape(name), *cells, minutes, f"{sum(done) / len(done):.0f}" if done else "–")
    Console().print(table)


def _count_finished(states: Sequence[CaseState | None]) -> str:
    return f"{sum(s is not None and s.finished for s in states)} of {len(states)}"


@app.command
def export(location: str, *, format: Literal["chexlocalize", "coco", "csv"] = "chexlocalize", out: Path) -> None:
    """Write the readers' answers to files. As marks of a data set, `DATA?readers=PLACE` reads them without this.

    Parameters
    ----------
    place
        Folder or database of the study.
    format
        chexlocalize (contours and points, which chexlocalize:DIR opens), coco, or csv (marks, cases, ratings).
    out
        New or empty folder.
    """
    from sightline.web.reader_study.export import export_study as write

    for path in write(location, format, out):
        print(path)


@app.command
def report(location: str, *, out: Path = Path("runs/agreement"), seed: int = 0) -> None:
    """Report how far readers agree with the reference, with one another and with themselves, and how long they took.

    Parameters
    ----------
    place
        Folder or database of the study.
    out
        Folder for report.html and its tables.
    seed
        Seed of the bootstrap resamples.
    """
    from sightline.web.reader_study.report import write_report as write

    made = write(location, out, seed)
    for title, frame in made.tables:  # by finding in the files, on average here
        if "finding" in frame.columns:
            frame = frame[frame["finding"] == "average"].drop(columns="finding")
        table = Table(title=escape(title), title_justify="left")
        for head in frame.columns:
            table.add_column(head)
        for row in frame.itertuples(index=False):
            table.add_row(*(escape(str(cell)) for cell in row))
        Console().print(table)
    print(made.page)

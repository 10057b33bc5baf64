"""`sightline readers`: create a reader study, invite readers, serve it, and export and report the results."""

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
from sightline.data.reader_study.schedule import invite_reader
from sightline.web.reader_study.create import StudyInputs, create_study
from sightline.web.server.serving import server_url

DEFAULT_PORT = 8460
TRIAL_FOLDER = Path("runs/readers")
Task = Literal["contour", "point", "search", "rate", "choice"]
app = App(name="readers", group_commands="Commands")


@app.default
def run_trial(location: Path = TRIAL_FOLDER, *, port: int = DEFAULT_PORT) -> None:
    """Try a reader study: open a small study of the phantom on this machine, with one reader invited.

    Parameters
    ----------
    location
        Folder of the trial study; created if it does not exist.
    port
        Port to listen on.
    """
    if not location.exists():
        create_study("phantom:12", location, tasks=("contour", "point"), title="Trial of a reader study")
    name = "me"
    with StudyDatabase.open(location) as database:
        is_invited = any(reader.name == name for reader in database.readers())
        token = database.rotate_token(name) if is_invited else invite_reader(database, name)
    _serve(str(location), "127.0.0.1", port, (), token)


@app.command
def create(
    data_or_run: str,
    *,
    tasks: tuple[Task, ...] = ("contour", "point"),
    out: str = "study",
    findings: str = "",
    max_radiographs: int = 0,
    absent_ratio: float = 0.25,
    repeat_share: float = 0.1,
    sources: tuple[str, ...] = (),
    aid: str = "",
    seed: int = 0,
    title: str = "Reader study",
) -> None:
    """Create a study from a data set, or from a run whose maps are to be judged.

    Parameters
    ----------
    data_or_run
        Data set, as NAME:PATH, or a run folder.
    tasks
        Tasks of the readers: outline findings (contour), click the most representative point (point), click where one
        looks, in that order (search), rate blinded maps of a run (rate), or choose one of them (choice).
    out
        Folder of the study, or postgresql://USER@HOST/DATABASE.
    findings
        Findings, comma-separated; all by default.
    max_radiographs
        Greatest number of radiographs, drawn at random; 0 takes all.
    absent_ratio
        Number of cases without a finding for each case with it, from 0 to 10, so that being asked reveals nothing.
    repeat_share
        Share of the cases, from 0 to 1, that each reader reads twice, far apart, to measure intra-reader agreement.
    sources
        Sources of the maps to judge, as MODEL/METHOD; by default those of the run's models.
    aid
        Source of the run, as MODEL/METHOD, whose map readers see in one of two readings of each contour or point case;
        the report compares both arms.
    seed
        Seed of the choice of cases and of each reader's order.
    title
        Title that readers see in their browser.
    """
    with create_study(
        data_or_run,
        out,
        tasks=tasks,
        findings=findings,
        max_radiographs=max_radiographs,
        absent_ratio=absent_ratio,
        repeat_share=repeat_share,
        sources=sources,
        aid=aid,
        seed=seed,
        title=title,
    ) as database:
        counts = ", ".join(f"{count} × {task}" for task, count in database.count_cases().items())
    location = database.location
    print(f"{location}: {counts}")
    print(f"next: sightline readers invite {location} NAME; sightline readers serve {location}")


@app.command
def invite(location: str, name: str, *, renew: bool = False, base_url: str = "") -> None:
    """Invite a reader, and print the reader's personal link, which cannot be printed again.

    Parameters
    ----------
    location
        Folder or database of the study.
    name
        Name of the reader, as in tables and reports.
    renew
        Give a reader who is already invited a new link; the old one is no longer valid.
    base_url
        Address at which readers reach the server, as https://HOST; by default that of this machine.
    """
    with StudyDatabase.open(location) as database:
        token = database.rotate_token(name) if renew else invite_reader(database, name)
    print(invitation_link(base_url or server_url("127.0.0.1", DEFAULT_PORT), token))


@app.command
def revoke(location: str, name: str) -> None:
    """Revoke the access of a reader at once. The reader's annotations and answers stay.

    Parameters
    ----------
    location
        Folder or database of the study.
    name
        Name of the reader.
    """
    with StudyDatabase.open(location) as database:
        database.revoke(name)


@app.command
def serve(
    location: str, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT, host_names: tuple[str, ...] = ()
) -> None:
    """Serve a study to readers in their browsers. Only a reader's personal link gives access.

    Parameters
    ----------
    location
        Folder or database of the study.
    host
        Address to listen on; for readers on other machines, put a proxy with TLS in front.
    port
        Port to listen on.
    host_names
        Host names of that proxy, as they appear in the readers' links.
    """
    _serve(location, host, port, host_names)


def invitation_link(base: str, token: str) -> str:
    """Return the link of a reader: the token is in the fragment, which no server and no log receives.

    >>> invitation_link("https://study.example", "1-abc")
    'https://study.example/#token=1-abc'
    """
    return f"{base.rstrip('/')}/#token={token}"


def _serve(location: str, host: str, port: int, host_names: Sequence[str], token: str = "") -> None:
    from sightline.web.reader_study.server import reader_app
    from sightline.web.server.serving import serve as listen

    with StudyDatabase.open(location) as database:
        study = database.study()
        server_app = reader_app(database, StudyInputs.open(study.data_or_run, study.sources, bool(study.sources)))
        if token:
            print(f"your link: {invitation_link(server_url(host, port), token)}")
        listen(server_app, host, port, host_names=host_names, app_authenticates=True)


@app.command
def status(location: str) -> None:
    """Show how many cases each reader has finished, and how long the reader took.

    Parameters
    ----------
    location
        Folder or database of the study.
    """
    with StudyDatabase.open(location) as database:
        study = database.study()
        table = Table(title=escape(f"{study.title}: {study.dataset_spec}"), title_justify="left")
        for column in ("reader", *study.tasks, "minutes", "seconds per case"):
            table.add_column(column, justify="left" if column == "reader" else "right")
        for reader in database.readers():
            assignments, states = database.assignments(reader.number), database.case_states(reader.number)
            cells = [
                _count_finished([states.get(a.key) for a in assignments if a.case.task == task]) for task in study.tasks
            ]
            seconds = [state.seconds for state in states.values() if state.finished]
            minutes = f"{sum(state.seconds for state in states.values()) / 60:.1f}"
            name = reader.name + (" (revoked)" if reader.revoked else "")
            table.add_row(escape(name), *cells, minutes, f"{sum(seconds) / len(seconds):.0f}" if seconds else "–")
    Console().print(table)


def _count_finished(states: Sequence[CaseState | None]) -> str:
    return f"{sum(s is not None and s.finished for s in states)} of {len(states)}"


@app.command
def export(location: str, *, format: Literal["chexlocalize", "coco", "csv"] = "chexlocalize", out: Path) -> None:
    """Write the readers' annotations and answers to files.

    A data set can use the readers of a study without an export: name it as DATA?readers=LOCATION.

    Parameters
    ----------
    location
        Folder or database of the study.
    format
        Contours and points as chexlocalize:FOLDER opens them, COCO, or tables of annotations, cases and ratings.
    out
        New or empty folder.
    """
    from sightline.web.reader_study.export import export_study

    for path in export_study(location, format, out):
        print(path)


@app.command
def report(location: str, *, out: Path = Path("runs/agreement")) -> None:
    """Report the agreement of readers with the reference, with one another and with themselves, and reading times.

    Parameters
    ----------
    location
        Folder or database of the study.
    out
        Folder for report.html and its tables.
    """
    from sightline.web.reader_study.report import write_report

    written = write_report(location, out)
    for title, frame in written.tables:  # by finding in the files, on average here
        if "finding" in frame.columns:
            frame = frame[frame["finding"] == "average"].drop(columns="finding")
        table = Table(title=escape(title), title_justify="left")
        for column in frame.columns:
            table.add_column(column)
        for row in frame.itertuples(index=False):
            table.add_row(*(escape(str(cell)) for cell in row))
        Console().print(table)
    print(written.page)

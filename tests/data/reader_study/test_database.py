"""Studies in SQLite and in PostgreSQL: tokens, the append-only log, and many hands at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from clusters import Cluster
from sightline.data.reader_study.database import StudyDatabase
from sightline.data.reader_study.events import FinishCase, Operation, PutShape, replay
from sightline.data.reader_study.schedule import invite_reader
from sightline.data.reader_study.tokens import token_digest
from sightline.errors import DataError, SightlineError, UnknownNameError
from sightline.web.reader_study.create import create_study

DATA = "phantom:6?size=64"


def put(number: int, clock: int = 0) -> PutShape:
    return PutShape(id=f"o{number}", clock=clock or number + 1, shape=f"s{number}", points=((1.0, float(number)),))


@pytest.fixture
def book(place: str) -> Iterator[StudyDatabase]:
    with create_study(DATA, place, tasks=("contour",), repeat_share=0.2) as made:
        yield made


def turn(book: StudyDatabase, name: str = "Dr A") -> str:
    """The key of a new reader's first case."""
    invite_reader(book, name)
    return book.assignments(book.reader(name).number)[0].key


def test_a_study_opens_again(book: StudyDatabase, place: str) -> None:
    with StudyDatabase.open(place) as again:
        assert again.study().dataset_spec == DATA
        assert again.count_cases() == book.count_cases() and sum(again.count_cases().values()) > 3


def test_a_study_of_another_format_is_refused(book: StudyDatabase, place: str) -> None:
    with book.write_session() as session:
        session.execute(text("UPDATE study SET version = 1"))
    with pytest.raises(DataError, match=r"this reader study states format 1, .* format 3; create the study again with"):
        StudyDatabase.open(place)


def test_operations_are_kept_once(book: StudyDatabase) -> None:
    key = turn(book)
    assert book.append(key, [put(1), put(0)]) == 2
    assert book.append(key, [put(1), put(2), put(2)]) == 1, "sent again after a lost answer"
    assert [o.id for o in book.operations(key)] == ["o0", "o1", "o2"]
    assert book.append(key, []) == 0
    with pytest.raises(DataError, match="'o1' was received before with other content"):
        book.append(key, [put(3), put(1, clock=9)])
    assert len(book.operations(key)) == 3, "of a refused request nothing is kept"


def test_finished_is_what_the_log_says(book: StudyDatabase) -> None:
    key = turn(book)
    number = book.reader("Dr A").number
    log: list[Operation] = [put(1, 1), FinishCase(id="f", clock=2)]
    book.append(key, log)
    assert book.finished_assignments(number) == {key} and replay(log).finished
    book.append(key, [put(2, 3)])
    assert book.finished_assignments(number) == frozenset(), "a later change opens the case again"
    assert book.case_states(number)[key] == replay([*log, put(2, 3)])


def test_many_hands_lose_and_double_nothing(book: StudyDatabase) -> None:
    keys = [turn(book, f"Dr {i}") for i in range(4)]

    def work(number: int) -> int:
        key = keys[number % 4]
        return sum(book.append(key, [put(number * 100 + i), put(number // 4 * 400)]) for i in range(10))

    with ThreadPoolExecutor(8) as pool:
        new = sum(pool.map(work, range(8)))
    logs = [book.operations(key) for key in keys]
    assert new == sum(map(len, logs))
    assert {o.id for log in logs for o in log} >= {f"o{n * 100 + i}" for n in range(8) for i in range(10)}


def test_tokens(book: StudyDatabase) -> None:
    token = invite_reader(book, "Dr A")
    reader = book.authenticate(token)
    assert reader is not None and reader.name == "Dr A"
    assert token.encode() not in reader.digest + reader.salt and reader.digest == token_digest(token, reader.salt)
    for wrong in ("", "1", "1-", token + "x", token[:-1], f"2{token[1:]}", "99-x", "x" * 500, "1-\ud800", "٣-x"):
        assert book.authenticate(wrong) is None, wrong
    fresh = book.rotate_token("Dr A")
    assert book.authenticate(token) is None and book.authenticate(fresh) is not None
    book.revoke("Dr A")
    assert book.authenticate(fresh) is None
    with pytest.raises(UnknownNameError, match="'Dr B'; invited: 'Dr A'"):
        book.revoke("Dr B")


@pytest.mark.parametrize("name", ["Dr A", "", "  ", "x" * 81, "two\nlines", "\u202eevil"])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    with create_study(DATA, tmp_path / "study", tasks=("contour",)) as book:
        invite_reader(book, "Dr A")
        with pytest.raises(DataError):
            invite_reader(book, name)


def test_orders_differ_and_keys_tell_nothing(book: StudyDatabase) -> None:
    one, two = turn(book, "Dr A"), turn(book, "Dr B")
    assert one != two
    first, second = (
        [(t.case_number, t.occasion) for t in book.assignments(book.reader(n).number)] for n in ("Dr A", "Dr B")
    )
    assert sorted(c for c, o in first if o == 0) == sorted(c for c, o in second if o == 0) and first != second
    assert any(occasion for _, occasion in first)


def test_the_token_is_nowhere_on_disk(tmp_path: Path) -> None:
    with create_study(DATA, tmp_path / "study", tasks=("contour",)) as book:
        secret = invite_reader(book, "Dr A").partition("-")[2]
    assert all(secret.encode() not in file.read_bytes() for file in (tmp_path / "study").iterdir())


def test_a_commit_is_on_disk(tmp_path: Path) -> None:
    with create_study(DATA, tmp_path / "study", tasks=("contour",)) as book, book.engine.connect() as connection:
        said = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
    assert said == ["wal", 2], "full synchronization: through a kill and through a power failure"


def test_an_acknowledged_stroke_survives_the_death_of_postgresql(cluster: Cluster) -> None:
    with create_study(DATA, cluster.database(), tasks=("contour",)) as book:
        key = turn(book)
        book.append(key, [put(1)])
        cluster.stop("immediate")
        cluster.start()
        assert [o.id for o in book.operations(key)] == ["o1"], "and the connection comes back by itself"


def test_places_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no study .*sightline readers create"):
        StudyDatabase.open(tmp_path)
    with create_study(DATA, tmp_path / "study", tasks=("contour",)):
        pass
    with pytest.raises(DataError, match="already holds a study"):
        create_study(DATA, tmp_path / "study", tasks=("contour",))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not an empty folder"):
        create_study(DATA, tmp_path / "full", tasks=("contour",))
    with pytest.raises(DataError, match="not in mysql"):
        StudyDatabase.open("mysql://somebody@somewhere/x")
    with pytest.raises(SightlineError, match="cannot be used"):
        StudyDatabase.open("postgresql://nobody:secret@127.0.0.1:1/none")


def test_a_password_is_not_told(cluster: Cluster) -> None:
    url = cluster.database().replace("sightline@", "sightline:hunter2@")
    with pytest.raises(DataError) as caught:
        StudyDatabase.open(url)
    assert "hunter2" not in str(caught.value) and "holds no study" in str(caught.value)
    with create_study(DATA, url, tasks=("contour",)) as book:
        assert "hunter2" not in book.location


def test_without_its_driver_postgresql_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pg8000", None)
    with pytest.raises(SightlineError, match=r"pip install 'sightline\[postgres\]'"):
        StudyDatabase.open("postgresql://somebody@127.0.0.1:1/x")

"""The laws of the log: what a case comes to depends on the set of its operations, and on nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sightline.data.reader_study.events import (
    OPERATION_ADAPTER,
    AddTime,
    AnswerQuestion,
    FinishCase,
    Operation,
    PutShape,
    RemoveShape,
    replay,
)

names = st.sampled_from(["a", "b", "c"])
place = st.tuples(st.floats(0, 50), st.floats(0, 50))
content = st.one_of(
    st.builds(
        lambda shape, points, closed: {"kind": "put", "shape": shape, "points": points, "closed": closed},
        names,
        st.lists(place, min_size=1, max_size=4),
        st.booleans(),
    ),
    st.builds(lambda shape: {"kind": "remove", "shape": shape}, names),
    st.builds(
        lambda source, value: {"kind": "answer", "question": "extent", "source": source, "value": value},
        st.sampled_from(["", "A", "B"]),
        st.sampled_from(["", "1", "5"]),
    ),
    st.builds(lambda seconds: {"kind": "time", "seconds": seconds}, st.floats(0, 600)),
    st.just({"kind": "finish"}),
)


@st.composite
def logs(draw: st.DrawFn) -> list[Operation]:
    """Operations with ids of their own; clocks may coincide, as those of two windows do."""
    bodies = draw(st.lists(content, max_size=12))
    clocks = draw(st.lists(st.integers(1, 9), min_size=len(bodies), max_size=len(bodies)))
    return [
        OPERATION_ADAPTER.validate_python({"id": f"o{i}", "clock": clocks[i], **body}) for i, body in enumerate(bodies)
    ]


def slow(log: list[Operation]) -> tuple[dict[str, object], dict[tuple[str, str], str], bool]:
    """The definition, shape by shape: the last word on it counts."""
    ranked = sorted(log, key=lambda o: (o.clock, o.id))
    shapes = {}
    for name in "abc":
        said = [o for o in ranked if isinstance(o, PutShape | RemoveShape) and o.shape == name]
        if said and isinstance(said[-1], PutShape):
            shapes[name] = said[-1].points
    answers = {}
    for source in ("", "A", "B"):
        values = [o.value for o in ranked if isinstance(o, AnswerQuestion) and o.source == source]
        if values and values[-1]:
            answers["extent", source] = values[-1]
    ends = [o.clock for o in log if isinstance(o, FinishCase)]
    changes = [o.clock for o in log if isinstance(o, PutShape | RemoveShape | AnswerQuestion)]
    return shapes, answers, bool(ends) and max(ends) > max(changes, default=0)


@given(logs(), st.randoms())
def test_order_and_repetition_change_nothing(log: list[Operation], random) -> None:
    again = [*log, *random.sample(log, len(log) // 2)]
    random.shuffle(again)
    assert replay(again) == replay(log)
    assert list(replay(again).shapes) == list(replay(log).shapes), "and shapes keep their order"


@given(logs())
def test_the_last_word_counts(log: list[Operation]) -> None:
    state = replay(log)
    shapes, answers, finished = slow(log)
    assert {name: shape.points for name, shape in state.shapes.items()} == shapes
    assert (state.answers, state.finished) == (answers, finished)
    assert state.seconds == pytest.approx(sum(o.seconds for o in log if isinstance(o, AddTime)))
    assert state.clock == max((o.clock for o in log), default=0)


@given(logs())
def test_an_operation_survives_its_json(log: list[Operation]) -> None:
    assert [OPERATION_ADAPTER.validate_json(o.model_dump_json()) for o in log] == log


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "put", "shape": "s", "points": []},
        {"kind": "put", "shape": "s", "points": [[0, float("nan")]]},
        {"kind": "put", "shape": "s", "points": [[-1, 0]]},
        {"kind": "put", "shape": "<script>", "points": [[0, 0]]},
        {"kind": "put", "shape": "s", "points": [[0, 0]] * 4001},
        {"kind": "time", "seconds": 601},
        {"kind": "answer", "question": "extent", "source": "net/intrinsic", "value": "1"},
        {"kind": "finish", "reader": "somebody else"},
        {"kind": "drop table"},
    ],
)
def test_what_no_page_of_ours_sends_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OPERATION_ADAPTER.validate_python({"id": "o", "clock": 1, **said})

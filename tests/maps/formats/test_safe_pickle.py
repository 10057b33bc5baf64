"""Pickles are read without being run: what maps are made of comes out exactly, everything else is refused."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import subprocess
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DataError
from sightline.maps.formats.safe_pickle import MAX_BYTES, load, loads

torch = pytest.importorskip("torch")

REAL = Path(__file__).resolve().parents[3] / "../shared/data/chexlocalize/CheXlocalize/gradcam_maps_val"
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Calls:
    """Pickles as a call of `function(*args)`, as an attacker would write it."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def a_map(side: int = 4) -> bytes:
    grid = torch.arange(float(side**2)).reshape(1, 1, side, side)
    return pickle.dumps({"map": grid, "prob": 0.25, "task": "Edema", "gt": 0, "cxr_dims": (40, 30)}, protocol=3)


def torch_stream(tensor: Any) -> bytes:
    """The stream in which torch keeps the storage of a tensor inside a pickle."""
    instructions = pickletools.genops(pickle.dumps({"map": tensor}, protocol=3))
    return next(arg for op, arg, _ in instructions if "BINBYTES" in op.name)


def code(value: Any) -> bytes:
    """The instructions that make a value."""
    return pickle.dumps(value, protocol=3)[2:-1]


def tensor_pickle(stream: bytes, offset: Any, shape: Any, strides: Any) -> bytes:
    """A pickle of a tensor that says whatever is given."""
    storage = b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(stream)) + stream + b"\x85R"
    args = b"(" + storage + code(offset) + code(shape) + code(strides) + b"\x89ccollections\nOrderedDict\n)Rt"
    return b"\x80\x03}" + code("map") + b"ctorch._utils\n_rebuild_tensor_v2\n" + args + b"Rs."


def array_pickle(shape: Any, dtype: str, raw: Any) -> bytes:
    """A pickle of an array whose state says whatever is given."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + code((0,)) + b"C\x01b\x87R"
    kind = b"cnumpy\ndtype\n" + code((dtype, False, True)) + b"R" + code((3, "<", None, None, None, -1, -1, 0)) + b"b"
    state = b"(" + code(1) + code(shape) + kind + code(False) + code(raw) + b"tb"
    return b"\x80\x03}" + code("map") + array + state + b"s."


# -- what comes out ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="no CheXlocalize sample in shared/data")
def test_real_maps_equal_what_torch_loads() -> None:
    files = sorted(REAL.glob("*.pkl"))
    assert len(files) == 10
    for file in files:
        with file.open("rb") as stream:
            theirs = pickle.load(stream)
        ours = load(file)
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            if torch.is_tensor(value):
                assert ours[key].dtype == value.numpy().dtype
                np.testing.assert_array_equal(ours[key], value.numpy())
            else:
                assert ours[key] == value and type(ours[key]) is type(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bool", "uint8", "int8", "int16", "int32", "int64"])
def test_tensors_of_every_type(protocol: int, dtype: str) -> None:
    whole = (torch.arange(60).reshape(3, 4, 5) % 7).to(getattr(torch, dtype))
    views = {"whole": whole, "turned": whole.transpose(0, 2), "part": whole[1:, ::2, 3], "one": whole[2, 3, 4]}
    found = loads(pickle.dumps(views, protocol=protocol))
    for name, view in views.items():
        assert found[name].dtype == view.numpy().dtype
        np.testing.assert_array_equal(found[name], view.numpy())


def test_tensors_that_need_more_than_a_copy() -> None:
    made = {
        "bfloat16": torch.linspace(-3, 3, 7).bfloat16(),
        "with gradient": torch.ones(2, 3, requires_grad=True),
        "expanded": torch.tensor([7.0]).expand(3, 4),
        "empty": torch.zeros(0, 5),
        "special": torch.tensor([float("nan"), float("inf"), -0.0]),
    }
    found = loads(pickle.dumps(made))
    for name, tensor in made.items():
        np.testing.assert_array_equal(found[name], tensor.detach().float().numpy())


def test_a_tensor_saved_on_a_gpu_is_read_without_one() -> None:
    stream = torch_stream(torch.arange(6.0))
    assert stream.count(code("cpu")[:8]) == 1
    for device in ("cuda:0", "mps"):
        moved = stream.replace(code("cpu")[:8], code(device)[: 5 + len(device)])
        assert loads(tensor_pickle(moved, 0, (2, 3), (3, 1)))["map"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "dtype", ["<f4", ">f4", "<f8", "f2", "?", "u1", "i1", ">i2", "<u2", "<i4", "<u4", "<i8", "<u8"]
)
def test_numpy_arrays_of_every_type(protocol: int, dtype: str) -> None:
    array = (np.arange(6) % 5).reshape(2, 3).astype(dtype)
    made = {"c": array, "fortran": np.asfortranarray(array), "again": array, "none": array[:0], "number": array[1, 1]}
    found = loads(pickle.dumps(made, protocol=protocol))
    for name in ("c", "fortran", "again", "none"):
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], made[name])
    assert found["number"] == array[1, 1].item() and not isinstance(found["number"], np.generic)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), PLAIN), st.sampled_from(PROTOCOLS))
def test_plain_values_come_out_as_they_went_in(value: dict[str, Any], protocol: int) -> None:
    assert loads(pickle.dumps(value, protocol=protocol)) == value
    assert loads(pickle.dumps(OrderedDict(value), protocol=protocol)) == value


def test_arrays_cannot_be_written_to() -> None:
    found = loads(pickle.dumps({"tensor": torch.ones(2), "old": np.ones(2)}, protocol=2))
    found |= loads(pickle.dumps({"new": np.ones(2)}, protocol=5))
    for array in found.values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_in_a_pickle_is_never_run(protocol: int, marker: Path) -> None:
    attacks = [
        Calls(os.system, f"touch '{marker}'"),
        Calls(eval, f"open({str(marker)!r}, 'w')"),
        Calls(exec, f"open({str(marker)!r}, 'w')"),
        Calls(open, str(marker), "w"),
        Calls(subprocess.check_call, ["touch", str(marker)]),
        Calls(Path.touch, marker),
        Calls(pickle.loads, pickle.dumps(Calls(open, str(marker), "w"))),
        Calls(torch.load, str(marker)),
    ]
    for attack in attacks:
        for data in (attack, {"map": attack}, {"map": torch.ones(2), "task": [attack]}):
            with pytest.raises(DataError, match="nothing was run"):
                loads(pickle.dumps(data, protocol=protocol), "evil.pkl")
    assert not marker.exists()


def test_code_inside_a_tensor_is_never_run(marker: Path) -> None:
    evil = pickle.dumps(Calls(open, str(marker), "w"), protocol=2)
    stream = io.BytesIO(torch_stream(torch.ones(4)))
    parts = []
    for _ in range(5):
        start = stream.tell()
        *_, (_, _, stop) = pickletools.genops(stream)
        assert stop is not None
        parts.append(stream.getvalue()[start : stop + 1])
    tail = stream.read()
    assert loads(tensor_pickle(b"".join(parts) + tail, 0, (2, 2), (2, 1)))["map"].shape == (2, 2)
    for at in range(5):
        hostile = b"".join([*parts[:at], evil, *parts[at + 1 :]]) + tail
        with pytest.raises(DataError, match="nothing was run"):
            loads(tensor_pickle(hostile, 0, (2, 2), (2, 1)))
    with pytest.raises(DataError, match="no known format"):
        loads(tensor_pickle(pickle.dumps(5) * 5 + tail, 0, (2, 2), (2, 1)))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "program"),
    {
        "INST": b"(S'true'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'true'\no.",
        "OBJ of an allowed name": b"(cnumpy\nndarray\nI4\no.",
        "NEWOBJ": b"\x80\x02cnumpy\nndarray\nK\x04\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04cnumpy\nndarray\nK\x04\x85}\x92.",
        "EXT1": b"\x80\x02\x82\x01.",
        "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "PERSID": b"Phello\n.",
        "BINPERSID": b"\x80\x02U\x05helloQ.",
        "NEXT_BUFFER": b"\x80\x05\x97.",
        "FROZENSET": b"\x80\x04(K\x01\x91.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        "STACK_GLOBAL of numbers": b"\x80\x04K\x01K\x02\x93.",
        "dotted STACK_GLOBAL": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "a storage name outside a tensor": b"\x80\x02ctorch\nFloatStorage\n.",
        "REDUCE of ndarray": b"\x80\x02cnumpy\nndarray\nK\x04\x85R.",
        "REDUCE of a text": b"\x80\x02X\x02\x00\x00\x00os)R.",
        "REDUCE without a tuple": b"\x80\x02cnumpy\ndtype\n]R.",
        "REDUCE of a dtype of objects": b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.",
        "REDUCE of OrderedDict with values": b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
        "encode into rot13": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        "BUILD on a dictionary": b"\x80\x02}}b.",
        "BUILD on a name": b"\x80\x02cnumpy\nndarray\n}b.",
        "BUILD on an OrderedDict": b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00clearK\x01sb.",
        "a name as a value": b"\x80\x02}X\x03\x00\x00\x00mapcnumpy\nndarray\ns.",
        "an array that is never filled": b"\x80\x02}X\x03\x00\x00\x00mapcnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85C\x01b\x87Rs.",
        "a tuple as a key": b"\x80\x02}K\x01\x85K\x02s.",
        "nested tuples as a key": b"\x80\x02}K\x01\x85" + b"q\x01h\x01\x86" * 200 + b"K\x02s.",
        "nested tuples as one of many keys": b"\x80\x02}(K\x01K\x01K\x01\x85" + b"q\x01h\x01\x86" * 200 + b"K\x02u.",
        "BUILD on a callable": b"\x80\x02c_codecs\nencode\nNX\x0c\x00\x00\x00__defaults__)\x85sb.",
        "BUILD on a storage": b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x01a\x85R}b.",
        "BUILD on attributes": b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85RN}X\x05\x00\x00\x00_fillNs\x86b.",
        "APPENDS to bytes": b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00a(K\x01e.",
        "a memo of four billion entries": b"\x80\x02}r\xff\xff\xff\xff.",
        "a memo entry in text": b"}p99999999999\n.",
        "bytes of four gigabytes": b"\x80\x03}X\x01\x00\x00\x00aB\xff\xff\xff\xffs.",
        "a thousand marks": b"\x80\x02}" + b"(" * 1000 + b"1" * 1000 + b".",
        "a frame that ends inside an instruction": b"\x80\x04\x95\x04" + bytes(7) + b"}X\x02\x00\x00\x00ab0.",
        "a frame in a frame": b"\x80\x04\x95\x0c" + bytes(7) + b"}\x95\x01" + bytes(7) + b"}0.",
        "a frame beyond the end": b"\x80\x04\x95\xff" + bytes(7) + b"}.",
        "APPEND to a dictionary": b"\x80\x02}K\x01a.",
        "SETITEM of a list": b"\x80\x02]K\x00K\x01s.",
        "latin-1 beyond": b"\x80\x02c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xacX\x06\x00\x00\x00latin1\x86R.",
    }.items(),
)
def test_instructions_no_map_needs_are_refused(name: str, program: bytes) -> None:
    with pytest.raises(DataError):
        loads(program, name)
    with pytest.raises(DataError):
        loads(b"\x80\x05}X\x03\x00\x00\x00map" + program.removeprefix(b"\x80\x02").removesuffix(b".") + b"s.", name)


def test_the_forged_arrays_below_are_forged_well() -> None:
    assert loads(array_pickle((1, 2), "f4", np.float32([1, 2]).tobytes()))["map"].tolist() == [[1, 2]]
    stream = torch_stream(torch.arange(6.0))
    assert loads(tensor_pickle(stream, 1, (2, 2), (2, 1)))["map"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "data",
    [
        array_pickle((2**40, 2**20), "f8", b""),
        array_pickle((2**31, 0), "f8", b""),
        array_pickle((-1, -8), "u1", b"12345678"),
        array_pickle((2, 2), "f4", b"short"),
        array_pickle((2.0, 2.0), "u1", b"1234"),
        array_pickle((True, 4), "u1", b"1234"),
        array_pickle((1,) * 60, "u1", b"1"),
        array_pickle([4], "u1", b"1234"),
        array_pickle((10**400,), "u1", b"1234"),
        array_pickle((4,), "O", [1, 2, 3, 4]),
        array_pickle((4,), "u1", [1, 2, 3, 4]),
        array_pickle((4,), "u1", None),
        array_pickle((4,), "U1", b"1" * 16),
        array_pickle((4,), "V4", b"1" * 16),
    ],
)
def test_hostile_arrays(data: bytes) -> None:
    assert peak_bytes_of_refusing(data) < 2**20


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (2**20, 2**20), (0, 0)),  # 4 TB out of one value
        (0, (2**62, 2**62), (1, 1)),
        (0, (3, 3), (3, 1)),
        (-1, (2, 2), (2, 1)),
        (0, (2, 2), (-2, -1)),
        (10**30, (1, 1), (1, 1)),
        (0, (2, 2), (10**30, 1)),
        (0, (2, 2), (2,)),
        (0, (-2, -2), (2, 1)),
        (5, (2,), (1,)),
    ],
)
def test_hostile_tensors(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    data = tensor_pickle(torch_stream(torch.arange(6.0)), offset, shape, strides)
    assert peak_bytes_of_refusing(data) < 2**20


@pytest.mark.parametrize("count", [5, 7, 2**62, -1, 0])
def test_a_storage_that_announces_what_it_does_not_hold(count: int) -> None:
    stream = torch_stream(torch.arange(6.0))
    at = len(stream) - 6 * 4 - 8
    assert struct.unpack_from("<q", stream, at) == (6,)
    forged = stream[:at] + struct.pack("<q", count) + stream[at + 8 :]
    with pytest.raises(DataError, match="announces"):
        loads(tensor_pickle(forged, 0, (2, 2), (2, 1)))


def test_nesting_without_end_is_refused() -> None:
    itself = b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."
    deep = b"\x80\x02}X\x01\x00\x00\x00a" + b"]" * 100_000 + b"a" * 99_999 + b"s."
    laughs = b"\x80\x02}X\x01\x00\x00\x00a]" + b"q\x01h\x01\x86" * 5_000 + b"s."  # each level holds the one below twice
    shape = array_pickle((), "u1", b"1").replace(code(()), b"K\x01\x85" + b"q\x01h\x01\x86" * 60)
    for data in (itself, deep, laughs, shape):
        with pytest.raises(DataError):
            loads(data)


def test_many_small_instructions_do_not_fill_the_memory() -> None:
    assert peak_bytes_of_refusing(b"\x80\x02" + b"}" * 20_000_000 + b".", "instructions") < 100 * 2**20
    text = b"X" + struct.pack("<I", 2**20) + 2**20 * b"a" + b"q\x000"
    encode = b"c_codecs\nencode\nq\x010"
    copy = b"h\x01h\x00" + code("latin1")[:11] + b"\x86Ra"
    assert peak_bytes_of_refusing(b"\x80\x02" + text + encode + b"]" + copy * 1000 + b".", "unpacked") < 2 * MAX_BYTES


def peak_bytes_of_refusing(data: bytes, match: str = "pickle") -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=match):
            loads(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# -- damage -----------------------------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused() -> None:
    for whole in (a_map(), pickle.dumps({"map": np.ones((3, 4)), "o": OrderedDict(a=[1, (2, 3)])}, protocol=0)):
        for end in range(len(whole)):
            with pytest.raises(DataError):
                loads(whole[:end])
        with pytest.raises(DataError, match="follow the end"):
            loads(whole + b".")


@pytest.mark.skipif(not REAL.is_dir(), reason="no CheXlocalize sample in shared/data")
def test_a_real_file_cut_anywhere_is_refused() -> None:
    whole = min(REAL.glob("*.pkl")).read_bytes()
    ends = [*range(0, 900, 7), *range(900, len(whole), 40_009), *range(len(whole) - 300, len(whole))]
    for end in ends:
        with pytest.raises(DataError, match="name of the file"):
            loads(whole[:end], "name of the file")


@settings(max_examples=1500, deadline=1000)
@given(
    st.sampled_from([a_map(), pickle.dumps({"map": np.ones((2, 3)), "o": OrderedDict(a=[1, (2.5, "é")])})]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_flipped_bytes_give_a_clear_error_or_plain_values(data: bytes, flips: list[tuple[float, int]]) -> None:
    damaged = bytearray(data)
    for where, value in flips:
        damaged[int(where * len(damaged))] = value
    try:
        found = loads(bytes(damaged))
    except DataError:
        return
    assert isinstance(found, dict) and all(isinstance(key, str) for key in found)


@settings(max_examples=500)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\x80\x02}X\x01\x00\x00\x00a", b"\x80\x04(((]"]))
def test_random_programs_give_a_clear_error_or_plain_values(tail: bytes, head: bytes) -> None:
    try:
        found = loads(head + tail + b"s.")
    except DataError:
        return
    assert isinstance(found, dict)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    torch.save({"map": torch.ones(2)}, tmp_path / "zip.pkl")
    with pytest.raises(DataError, match=r"zip\.pkl is a zip archive"):
        load(tmp_path / "zip.pkl")
    torch.save({"map": torch.ones(2)}, tmp_path / "old.pkl", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match=r"old\.pkl"):
        load(tmp_path / "old.pkl")
    with pytest.raises(DataError, match=r"absent\.pkl cannot be read"):
        load(tmp_path / "absent.pkl")
    with pytest.raises(DataError, match="holds a list; a dictionary"):
        loads(pickle.dumps([1]))
    with pytest.raises(DataError, match="holds a dict; a dictionary with names"):
        loads(pickle.dumps({1: 2}))

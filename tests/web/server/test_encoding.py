"""Bytes for a browser hold exactly what they were made of."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from sightline.core import NAN, Frame, SaliencyMap
from sightline.web.server.encoding import decode_bundle, encode_bundle, encode_image, encode_thumbnail, map_fields


def gray(png: bytes) -> np.ndarray:
    """As gray-image.js reads it: 256 × red + green."""
    pixels = np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)
    return 256 * pixels[..., 0] + pixels[..., 1]


def test_twelve_bits_come_through_whole() -> None:
    levels = np.arange(4096).reshape(64, 64)
    assert (np.rint(gray(encode_image(levels / np.float32(4095))) / 65535 * 4095) == levels).all()


def test_eight_bits_stay_small_and_exact() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (100, 80))
    png = encode_image((levels / 255).astype(np.float32))
    assert Image.open(BytesIO(png)).mode == "L"
    assert (gray(png) == levels * 257).all()


def test_a_film_holds_nothing_but_pixels() -> None:
    image = Image.open(BytesIO(encode_image(np.random.default_rng(0).random((9, 7), np.float32))))
    assert image.size == (7, 9)
    assert not image.info


def test_reduced_films_keep_their_shape_and_odd_values_their_range() -> None:
    assert Image.open(BytesIO(encode_image(np.ones((300, 200), np.float32), 150))).size == (100, 150)
    assert Image.open(BytesIO(encode_thumbnail(np.ones((3, 2000), np.float32)))).size == (192, 1)
    assert gray(encode_image(np.float32([[np.nan, -1, 2, np.inf]]))).tolist() == [[0, 0, 65535, 65535]]


@given(
    st.lists(
        st.sampled_from(["float32", "uint8", "int32", "float64", "uint16"]).flatmap(
            lambda d: arrays(d, array_shapes(min_dims=1, max_dims=3, min_side=0))
        ),
        max_size=4,
    )
)
def test_a_block_gives_back_what_was_packed(some: list[np.ndarray]) -> None:
    named = {f"a{i}": a for i, a in enumerate(some)}
    fields, back = decode_bundle(encode_bundle({"text": "é</script>"}, named))
    assert fields == {"text": "é</script>"}
    for name, array in named.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array, equal_nan=array.dtype.kind == "f")


def test_a_block_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_bundle({"x": NAN}, {})


def test_a_map_tells_where_it_lies_and_nothing_of_nan() -> None:
    told = map_fields(SaliencyMap("r", "Edema", "m/cam", np.zeros((2, 2), np.float32), Frame((4, 6), (0, 1, 4, 5))))
    assert (told["size"], told["box"], told["probability"]) == ((4, 6), (0, 1, 4, 5), None)

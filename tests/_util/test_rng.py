"""Keys and the words in them never change: every number that was drawn from them would."""

from __future__ import annotations

import numpy as np
import pytest

from sightline._util import rng
from sightline._util.rng import key_digest, key_word, keyed_rng

# Digests instead of the words: replacing a word everywhere cannot change both.
CONSTANTS = {
    "PATIENT_SPLIT": "ad1a6405",
    "SHUFFLED_LABELS": "d772ebb4",
    "SHUFFLED_GAZE": "b8b0e7ef",
    "ANNOTATED_SUBSET": "e3d11da4",
    "IMAGE_SUBSET": "21b2eed1",
    "FURTHER_POINTS": "fd9c9683",
    "REPORT_SENTENCE": "821119d7",
    "PRETRAINING_WEIGHTS": "88d5192a",
    "TEXT_ENCODER": "dba36bff",
    "PROJECTIONS": "21902391",
    "BACKGROUND_IMAGE": "89b91df1",
    "RANDOMIZED_LAYER": "02dd0e20",
    "PAIRED_CASE": "47d8bd46",
    "TIED_PIXELS": "3eeb7e96",
    "IMPUTATION_NOISE": "362a2849",
    "BLANKED_SQUARES": "59854b30",
    "DETECTOR_NOISE": "efe2a5c0",
    "ELSEWHERE_GAZE": "7b1b763e",
    "REGION_SWAP": "da47c2f4",
    "STUDY_ORDER": "0c87ed81",
    "ABSENT_FINDING": "5ad38304",
    "SHEET_CASE": "bbfcd416",
    "SHEET_ORDER": "01c01800",
    "MAP_ORDER": "baaf5362",
    "READER_LENIENCY": "7133de97",
    "AID_ORDER": "109d7943",
    "PREVALENCE_SUBSET": "c2451614",
}
WORDS = {
    "TASK_WORDS": ["2e1025a6", "251fecd5", "3c01eba1"],
    "SOURCE_WORDS": ["44592926", "a116c9ed", "c47a44cd", "f5bb23b1", "be0fcf52", "5b397565", "39710a36"],
    "LAYER_WORDS": ["3c01eba1", "21b2eed1", "9f2e6d33", "2647690f"],
}


def short(word: str) -> str:
    return key_digest(word).hex()[:8]


def test_no_word_has_changed_and_none_is_unchecked() -> None:
    words = {name: value for name, value in vars(rng).items() if name.isupper()}
    assert {name: short(value) for name, value in words.items() if isinstance(value, str)} == CONSTANTS
    assert {n: [short(w) for w in value.values()] for n, value in words.items() if not isinstance(value, str)} == WORDS
    assert len(set(CONSTANTS.values())) == len(CONSTANTS), "what has another purpose draws other numbers"


def test_digests_are_those_of_ever() -> None:
    assert key_digest(0, "id1").hex() == "f7d3df9017fffe3863c36af14435686269e3ba4efe6fd749406b6e9c26e199d8"
    assert key_digest("a", "b") != key_digest("ab") != key_digest("b", "a")
    assert key_digest(1) == key_digest("1"), "a key is what it reads as"


@pytest.mark.parametrize("between", [0, 5])
def test_numbers_are_those_of_ever_whatever_else_was_drawn(between: int) -> None:
    np.random.default_rng(1).random(between)
    assert keyed_rng(0, "pair", "id1", "Edema").integers(0, 10**6, 4).tolist() == [673801, 797316, 299791, 749180]
    assert keyed_rng(3, "order", "é", "").permutation(6).tolist() == [3, 2, 0, 5, 4, 1]
    assert np.allclose(keyed_rng("noise", "x").standard_normal(2), [-0.32244949365411396, 0.7702363945214064], 0, 1e-15)


def test_a_renamed_part_keeps_its_word() -> None:
    assert key_word("localizer/unet/intrinsic", {"intrinsic": "own"}) == "localizer/unet/own"
    assert key_word("net.searching.0", {"search": "look"}, ".") == "net.searching.0", "whole parts alone"

"""Random numbers that follow from a key alone, and every fixed word that enters such keys.

A key is a seed, one of the words below that says what is drawn, and what it is drawn for (an id, a finding). The same
key gives the same numbers on every machine, whatever else was drawn before. The *values* of the constants below may
never change: another word is another draw, and every number that was ever reported of it changes. Their names may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

# Data sets
PATIENT_SPLIT = "split"
"""Train, val or test of a patient: (word, patient)."""
SHUFFLED_LABELS = "labels"
"""Whose labels a radiograph gets: (seed, word, split)."""
SHUFFLED_GAZE = "gaze"
"""Whose gaze a radiograph gets: (seed, word, id)."""
ANNOTATED_SUBSET = "marks"
"""Which radiographs keep their annotations: (seed, word, id)."""
IMAGE_SUBSET = "images"
"""Which radiographs a study explains: (seed, word, id)."""
FURTHER_POINTS = "further points"
"""How many points a simulated reader places after the first, and where: (word, the key of the reading)."""

# Training
REPORT_SENTENCE = "sentence"
"""Which sentence of a report goes with its image: (seed, word, epoch, row)."""
PRETRAINING_WEIGHTS = "pretrain"
"""Initial weights that pre-training adds: (seed, word, one of the two words below)."""
TEXT_ENCODER = "words"
"""Part of `PRETRAINING_WEIGHTS`."""
PROJECTIONS = "projections"
"""Part of `PRETRAINING_WEIGHTS`."""

# Methods and tests of maps
BACKGROUND_IMAGE = "background"
"""Which background image a draw of expected gradients starts from: (seed, id, word, draw)."""
RANDOMIZED_LAYER = "randomize"
"""Weights of a randomized layer: (seed, word, path of the layer)."""
PAIRED_CASE = "pair"
"""Another patient's case of the same finding: (seed, word, id, finding)."""
TIED_PIXELS = "order"
"""Order of equal values of a map: (seed, word, id, finding)."""
IMPUTATION_NOISE = "road"
"""Noise added to imputed pixels: (seed, word, id, finding)."""
BLANKED_SQUARES = "squares"
"""Squares blanked to measure infidelity: (seed, word, id)."""
DETECTOR_NOISE = "noise"
"""Noise of another exposure: (word, id)."""
ELSEWHERE_GAZE = "elsewhere"
"""Another patient's gaze: (seed, word, id)."""
REGION_SWAP = "swap"
"""Signs of the permutation test of regions: (seed, word, patients)."""
PREVALENCE_SUBSET = "prevalence"
"""Which radiographs are kept at a lower or higher prevalence: (seed, word, finding, id)."""

# Reader studies
STUDY_ORDER = "study"
"""Which radiographs a reader study asks for: (seed, word, id)."""
ABSENT_FINDING = "absent"
"""Which radiographs without a finding are asked for, too: (seed, word, finding, id)."""
AID_ORDER = "aid"
"""Which cases are first read with the map: (seed, word, finding, id, task)."""
SHEET_CASE = "case"
"""Which cases become sheets: (seed, word, id, patient, finding)."""
SHEET_ORDER = "sheets"
"""Order of a reader's sheets: (seed, word, reader, id, patient, finding)."""
MAP_ORDER = "shown"
"""Order of the maps of a sheet: (seed, word, reader, id, finding, occasion)."""
READER_LENIENCY = "leniency"
"""How mildly a simulated reader rates: (seed, word, reader)."""

# Names that enter keys, as they were when first drawn from: today's name -> the word in the key. To rename one, change
# the left side alone; whatever is not listed enters as it is.
TASK_WORDS: Mapping[str, str] = {"contour": "contour", "point": "point", "search": "look"}
"""Tasks of a reader study that are read case by case: (seed, word, reader)."""
SOURCE_WORDS: Mapping[str, str] = {
    "self-explaining": "element",
    "baseline": "plain",
    "localizer": "localizer",
    "unet": "unet",
    "retinanet": "retinanet",
    "intrinsic": "own",
    "grad-cam": "grad-cam",
}
"""Parts of the sources that simulated readers rate, cut at '/': (seed, reader, id, finding, occasion, word)."""
LAYER_WORDS: Mapping[str, str] = {
    "saliency_head": "look",
    "image_encoder": "images",
    "projection": "head",
    "lateral": "side_ways",
}
"""Parts of the path of a layer, cut at '.', in networks of this package: see `RANDOMIZED_LAYER`."""


def key_digest(*key: object) -> bytes:
    """Hash a key to 32 bytes: to draw patients or images by, whatever else is there and in whatever order.

    >>> key_digest(0, "id1").hex()[:8]
    'f7d3df90'
    """
    return hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()


def keyed_rng(*key: object) -> np.random.Generator:
    """Create the random generator of a key: the same whatever else was drawn, on every machine.

    >>> int(keyed_rng(0, "id1").integers(1000))
    864
    """
    return np.random.default_rng(np.frombuffer(key_digest(*key), np.uint32))


def key_word(name: str, words: Mapping[str, str], separator: str = "/") -> str:
    """Replace every part of a name by the word that stands for it in keys.

    >>> key_word("unet/intrinsic", {"intrinsic": "own"})
    'unet/own'
    """
    return separator.join(words.get(part, part) for part in name.split(separator))

"""How much the phantom looks like radiographs, and whether what a network learns on it holds on real ones.

    python benchmarks/likeness.py NIH_DIR [CHECKPOINT]

Each film is compared with the mean of the real ones: gray levels by the earth mover's distance, texture by the root
mean square difference of the logarithm of the radial power spectrum. The same distances of real films are the
reference. A checkpoint trained on the phantom alone (`best.pt` of a run) is scored on real labels.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pandas as pd
import torch

import sightline as sl
from sightline.core import Dataset
from sightline.stats.auroc import estimate_auroc

SIDE, COUNT = 256, 150
LABELS = {"Cardiomegaly": "Cardiomegaly", "Pleural Effusion": "Pleural Effusion", "Lung Lesion": "Nodule"}
"""Finding of the phantom -> the nearest NIH label."""


def curves(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Sorted gray levels (n, 1000) and log radial power spectra (n, SIDE / 2 - 1) of the first films."""
    rows, cols = np.indices((SIDE, SIDE)) - SIDE // 2
    radius = np.hypot(rows, cols).astype(int)
    grays, spectra = [], []
    for radiograph in data.radiographs[:COUNT]:
        image = radiograph.read()
        side = min(image.shape)
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        film = cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        grays.append(np.quantile(film, np.linspace(0, 1, 1000)))
        window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
        power = np.abs(np.fft.fftshift(np.fft.fft2((film - film.mean()) * window))) ** 2
        sums = np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())
        spectra.append(np.log10(sums[1 : SIDE // 2]))
    return np.array(grays), np.array(spectra)


def told(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"median {middle:.3f}, 80 % in [{low:.3f}, {high:.3f}], n = {values.size}"


def likeness(real: Dataset) -> None:
    (real_gray, real_power), (gray, power) = curves(real), curves(sl.open_dataset(f"phantom:{COUNT}?size={SIDE}"))
    for name, ours, theirs, distance in (
        ("gray levels", gray, real_gray, lambda a, b: np.abs(a - b).mean(1)),
        ("power spectrum", power, real_power, lambda a, b: np.sqrt(((a - b) ** 2).mean(1))),
    ):
        print(f"{name}: real to the mean real film    {told(distance(theirs, theirs.mean(0)))}")
        print(f"{name}: phantom to the mean real film {told(distance(ours, theirs.mean(0)))}")


def transfer(real: Dataset, checkpoint: str) -> None:
    model = sl.open_model(checkpoint)
    rows = []
    with torch.inference_mode():
        model.net.eval()
        for radiograph in real.radiographs:
            x, _ = model.prepare(radiograph.read())
            probability = torch.sigmoid(model.net(x[None]))[0]
            rows += [
                {
                    "model": "phantom",
                    "patient": radiograph.patient,
                    "study": radiograph.id,
                    "finding": theirs,
                    "probability": float(probability[model.index(ours)]),
                    "label": radiograph.labels.get(theirs, np.nan),
                }
                for ours, theirs in LABELS.items()
            ]
    print(estimate_auroc(pd.DataFrame(rows)).round(3).to_string(index=False))


if __name__ == "__main__":
    nih = sl.open_dataset(f"nih:{sys.argv[1]}")
    likeness(nih)
    if len(sys.argv) > 2:
        transfer(nih, sys.argv[2])

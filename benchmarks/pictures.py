"""Every method on one phantom film, beside the film and the true effect of the finding: a picture to be looked at.

    python benchmarks/pictures.py MODEL OUT.png [FINDING]      MODEL: a checkpoint, or a zoo spec

The effect is the film less the same film rendered without the finding. Signed maps are blue to red around zero; maps
without sign dark to bright. A refused method says so in its place.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import cv2
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import sightline as sl
from sightline._util.malloc import disable_malloc_trim
from sightline.errors import SightlineError
from sightline.methods.registry import methods

DATA = "phantom:200?split=test&size=320"
CHEAPER = {
    "rise": "rise?samples=400",
    "occlusion": "occlusion?window=20&stride=10",
    "xrai": "xrai?nodes=8",
    "smooth-ig": "smooth-ig?samples=6&nodes=8",
    "layer-conductance": "layer-conductance?nodes=8",
}
COLUMNS = 8


def drawn(ax: Axes, name: str, map_: np.ndarray, image: np.ndarray, box: tuple[float, float, float, float]) -> None:
    signed = methods[name].info.signed and float(map_.min()) < 0 < float(map_.max())
    map_ = map_ if signed else map_ - map_.min()
    most = float(np.quantile(np.abs(map_), 0.995)) or 1.0
    ax.imshow(image, cmap="gray", extent=box)
    color, least = ("seismic", -most) if signed else ("magma", 0.0)
    ax.imshow(map_, cmap=color, alpha=0.65, extent=box, vmin=least, vmax=most, interpolation="nearest")


def main(spec: str, out: Path, finding: str) -> None:
    disable_malloc_trim()
    data = sl.open_dataset(DATA)
    model = sl.open_model(spec)
    film = next(r for r in data.radiographs if r.labels.get(finding) == 1)
    x, _ = model.prepare(film.read())
    phantom, number = data.metadata["phantom"], int(film.id.removeprefix("phantom"))
    effect = phantom.image(number) - phantom.counterfactual(number, finding)
    seen = cv2.resize(film.read(), (model.side, model.side), interpolation=cv2.INTER_AREA)
    names = [n for n in sorted(methods) if methods[n].info.needs not in ("attention", "prior", "intrinsic", "text")]
    rows = -(-(len(names) + 2) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(2.1 * COLUMNS, 2.35 * rows))
    places = iter(grid.ravel())
    box = (0.0, 1.0, 0.0, 1.0)
    for title, picture, color in ((f"{film.id}: {finding}", film.read(), "gray"), ("true effect", effect, "seismic")):
        ax, most = next(places), float(np.abs(picture).max())
        ax.imshow(picture, cmap=color, extent=box, vmin=0 if color == "gray" else -most, vmax=most)
        ax.set_title(title, fontsize=8)
    for name in names:
        ax = next(places)
        ax.set_title(CHEAPER.get(name, name), fontsize=8)
        try:
            found = sl.saliency(model, x[None], [finding], [CHEAPER.get(name, name)], ids=[film.id])
        except SightlineError as error:
            ax.text(0.5, 0.5, f"refused:\n{str(error)[:90]}", fontsize=6, ha="center", va="center", wrap=True)
            continue
        drawn(ax, name, next(iter(found.values()))[0, 0].numpy(), seen, box)
    for ax in grid.ravel():
        ax.axis("off")
    figure.tight_layout()
    figure.savefig(out, dpi=80)
    print(out)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "Pleural Effusion")

"""The catalogue of methods: a picture of each on one phantom film, and the page that shows them with their facts.

    python docs/_build/catalogue.py pictures NET [--attention VIT] [--own UNET] [--text MODEL] [--finding NAME]
    python docs/_build/catalogue.py add [--attention VIT] [--own UNET] [--text MODEL]
    python docs/_build/catalogue.py page

The page follows from the registry and from what the pictures were made of (docs/figures/methods/made.json); a test
compares.
"""

from __future__ import annotations

import html
import inspect
import json
import re
import sys
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

import sightline as sl
from sightline.core import Array
from sightline.errors import SightlineError
from sightline.findings import CHEXLOCALIZE_FINDINGS
from sightline.imaging.geometry import project_whole
from sightline.imaging.masks import rasterize_annotation
from sightline.methods.registry import methods
from sightline.registry import Entry

DOCS = Path(__file__).resolve().parents[1]
PICTURES = DOCS / "figures" / "methods"
DATA = "phantom:300?split=test&size=320"
HEIGHT = 250
COLORS = 160
TITLES = {
    "cam": "Class activation maps",
    "gradient": "Gradients of the input",
    "path_methods": "Gradients along a path",
    "guided_ig": "Gradients along a path",
    "xrai": "Gradients along a path",
    "deeplift": "Differences and relevance, propagated backward",
    "lrp": "Differences and relevance, propagated backward",
    "guided_backprop": "Modified gradients",
    "perturbation": "Occlusion of image parts",
    "attention": "Attention of vision transformers",
    "intrinsic": "Maps that a network computes itself",
    "controls": "Controls that do not depend on a network",
}
NEEDS = {
    "features": "features before the pooling",
    "input-gradient": "gradients of the input",
    "attention": "a vision transformer",
    "intrinsic": "a network with intrinsic maps",
    "text": "an image-text network",
    "nothing": "no gradient",
    "prior": "annotations of other radiographs",
}
CHEAPER = {"rise": "rise?samples=2000", "occlusion": "occlusion?window=20&stride=10"}


# -- the page ---------------------------------------------------------------------------------------------------------


def page(made: dict[str, Any]) -> str:
    """The whole page, as Markdown."""
    groups: dict[str, list[Entry[Any]]] = {}
    for entry in methods.values():
        home = entry.function.__module__.rpartition(".")[2]
        groups.setdefault(TITLES.get(home, "Others"), []).append(entry)
    lines = [_head(made)]
    for title in dict.fromkeys([*TITLES.values(), "Others"]):
        if title in groups:
            cards = "\n".join(_card(entry, made) for entry in groups[title])
            lines.append(f'## {title}\n\n<div class="methods">\n{cards}\n</div>\n')
    return "\n".join(lines)


def _head(made: dict[str, Any]) -> str:
    networks = "; ".join(f"{what}: {facts}" for what, facts in made["networks"].items())
    return f"""# Catalogue

This page shows every method of `sightline list` on one radiograph of the phantom. [Methods](methods.md) explains what
is computed where, and when a method is refused.

<div class="methods pair">
<div><img src="figures/methods/film.png" alt="the radiograph with the annotation">
<p>{made["film"]}, {made["finding"].lower()}, with its annotation</p></div>
<div><img src="figures/methods/effect.png" alt="true effect of the finding">
<p>Effect of the finding: the radiograph minus the same radiograph rendered without it</p></div>
</div>

Maps are placed on the radiograph in the same way as for scores. Unsigned maps are colored from dark to bright. In
signed maps, red is evidence for the finding and blue evidence against it. Each map has its own scale, up to its 99th
percentile, and is transparent where its values are low. The thin line is the annotation.

The radiograph is rendered, and one radiograph is an example and not a result: the
[studies](studies/localization.md) have results.
Networks, all trained on the phantom: {networks}.
"""


def _card(entry: Entry[Any], made: dict[str, Any]) -> str:
    name = entry.name
    drawn = made["drawn"].get(name)
    if drawn is not None:
        picture = f'<img src="figures/methods/{_file(name)}" alt="map by {name}" loading="lazy">'
        note = f" Drawn: <code>{html.escape(drawn)}</code>." if drawn != name else ""
    else:
        why = made["undrawn"].get(name, "no network of this page supports it")
        picture, note = f'<p class="none">{html.escape(why)}</p>', ""
    signed = "signed" if entry.info.signed else "unsigned"
    same = ", one map for all findings" if entry.info.class_agnostic else ""
    facts = f"{signed}{same}; needs {NEEDS[entry.info.needs]}{_options(entry)}."
    return (
        f'<div id="{name}">{picture}\n<h4><code>{name}</code></h4>\n<p>{_prose(entry.summary)}</p>\n'
        f'<p class="facts">{facts}{note}</p>\n<p class="facts">{_linked(entry.info.source)}</p></div>'
    )


def _options(entry: Entry[Any]) -> str:
    names = [p.name for p in inspect.signature(entry.function).parameters.values() if p.default is not p.empty]
    names += ["layer"] * (entry.info.needs == "features")
    return f"; options {', '.join(f'<code>{name}</code>' for name in names)}" if names else ""


def _prose(text: str) -> str:
    text = re.sub(r"; float32 \([^)]*\)(?:, (?:signed|0 or more))?", "", text)  # shapes are for who calls it
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def _linked(source: str) -> str:
    """A source with its arXiv numbers and DOIs as links."""
    text = html.escape(source, quote=False)
    text = re.sub(r"arXiv:(\d{4}\.\d{4,5})", r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', text)
    return re.sub(r"(?:doi:)?\b(10\.\d{4,9}/[\w./()-]*\w)", r'<a href="https://doi.org/\1">\1</a>', text)


def _file(name: str) -> str:
    return f"{name.replace('+', 'p')}.png"


# -- the pictures -----------------------------------------------------------------------------------------------------


def pictures(networks: dict[str, sl.Model], finding: str) -> dict[str, Any]:
    """Draw every method that a network here serves; what the page has to know of it."""
    data, main = sl.open_dataset(DATA), networks["network"]
    film = _film(data, main, finding)
    phantom, number = data.metadata["phantom"], int(film.id.removeprefix("phantom"))
    effect = phantom.image(number) - phantom.counterfactual(number, finding)
    image, mask = film.read(), _mark(data, film, finding)
    _save("film", _tile(image, None, mask, False))
    _save("effect", _tile(np.full_like(image, 0.5), effect, mask, True))
    blank = {"film": film.id, "finding": finding, "networks": {}, "drawn": {}, "undrawn": {}}
    return _drawn(networks, data, film, blank, {entry.info.needs for entry in methods.values()})


def added(networks: dict[str, sl.Model], made: dict[str, Any]) -> dict[str, Any]:
    """Draw the methods that need what these networks have, on the film of the others."""
    data = sl.open_dataset(DATA)
    film = next(r for r in data.radiographs if r.id == made["film"])
    return _drawn(networks, data, film, made, set(networks))


def _drawn(
    networks: dict[str, sl.Model], data: sl.Dataset, film: sl.Radiograph, made: dict[str, Any], wanted: set[str]
) -> dict[str, Any]:
    """`made` with the methods that need what is wanted, by the networks that have it, else by the one of all others."""
    image, finding = film.read(), made["finding"]
    mask, prior = _mark(data, film, finding), _average(data, film, finding)
    drawn, undrawn = dict(made["drawn"]), dict(made["undrawn"])
    for name, entry in methods.items():
        needs, spec = entry.info.needs, CHEAPER.get(name, name)
        if needs not in wanted:
            continue
        model = networks.get(needs) or networks["network"]
        x, frame = model.prepare(image)
        try:
            maps = sl.saliency(model, x[None], [finding], [spec], ids=[film.id], prior=prior)
        except SightlineError as error:
            undrawn[name] = (
                str(error).partition(";")[0] if needs not in ("intrinsic", "text") else f"needs {NEEDS[needs]}"
            )
            continue
        values = project_whole(maps[spec][0, 0].numpy(), frame)
        _save(_file(name).removesuffix(".png"), _tile(image, values, mask, entry.info.signed))
        drawn[name] = spec
        undrawn.pop(name, None)
        print(name, flush=True)
    facts = made["networks"] | {what: _described(m, film, finding) for what, m in networks.items()}
    return {"film": film.id, "finding": finding, "networks": facts, "drawn": drawn, "undrawn": undrawn}


def _mark(data: sl.Dataset, film: sl.Radiograph, finding: str) -> Array:
    mark = data.annotation(film.id, finding, data.reference_reader)
    assert mark is not None
    return rasterize_annotation(mark)


def transformer(weights: str = "") -> sl.Model:
    """A vision transformer small enough to be trained here: `train classifier --model catalogue:transformer`.

    Its tokens come from convolutions, without which a few thousand films teach it nothing.
    """
    import timm
    import torch

    from sightline.models import TrainingRecord

    stem = partial(timm.models.vision_transformer_hybrid.HybridEmbed, backbone=_stem(1, 24, 48, 72, 96))
    size = {"img_size": 160, "patch_size": 1, "in_chans": 1, "embed_dim": 96, "depth": 4, "num_heads": 4}
    net = timm.models.VisionTransformer(**size, embed_layer=stem, num_classes=len(CHEXLOCALIZE_FINDINGS))
    record = None
    if weights:
        content = torch.load(weights, weights_only=True)
        net.load_state_dict(content["state"])
        record = TrainingRecord(**content["training_record"])
    habits = {"side": 160, "resize": "pad", "channels": 1, "name": "vit", "feature_module": "blocks.3.norm1"}
    return sl.wrap(net, CHEXLOCALIZE_FINDINGS, **habits, training_record=record)


def _stem(*widths: int) -> Any:
    """(N, 1, h, w) -> (N, widths[-1], h / 16, w / 16)."""
    from torch import nn

    steps = [(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*(layer for step in steps for layer in step))


def _film(data: sl.Dataset, model: sl.Model, finding: str) -> sl.Radiograph:
    """Of the films with the finding on one side, the one of which the network is surest: there is a side to miss."""
    import torch

    films = [r for r in data.radiographs if r.labels.get(finding) == 1 and _one_sided(data, r, finding)]
    with torch.no_grad():
        x = torch.stack([model.prepare(r.read())[0] for r in films])
        logits = model.net.eval()(x)[:, model.index(finding)]
    return films[int(logits.argmax())]


def _one_sided(data: sl.Dataset, film: sl.Radiograph, finding: str) -> bool:
    mark = data.annotation(film.id, finding, data.reference_reader)
    if mark is None:
        return False
    columns = rasterize_annotation(mark).mean(0)
    middle = len(columns) // 2
    return min(columns[:middle].sum(), columns[middle:].sum()) < 0.02 * columns.sum()


def _average(data: sl.Dataset, film: sl.Radiograph, finding: str) -> Any:
    import torch

    others = [
        data.annotation(r.id, finding, data.reference_reader) for r in data.radiographs if r.patient != film.patient
    ]
    masks = [
        cv2.resize(rasterize_annotation(m).astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
        for m in others
        if m
    ]
    return torch.from_numpy(np.mean(masks, 0))[None, None]


def _described(model: sl.Model, film: sl.Radiograph, finding: str) -> str:
    import torch

    with torch.no_grad():
        logit = model.net.eval()(model.prepare(film.read())[0][None])[0, model.index(finding)]
    auroc = model.training_record.val_auroc if model.training_record else None
    quality = "" if auroc is None else f", mean validation AUROC {auroc:.2f}"
    parameters = sum(p.numel() for p in model.net.parameters())
    return (
        f"{model.name}, {parameters // 1000} thousand weights{quality}, probability here {float(logit.sigmoid()):.2f}"
    )


def _tile(image: Array, values: Array | None, mask: Array, signed: bool) -> Array:
    """uint8 (h, w, 3): the film, the map on it, and the outline of the mark."""
    import matplotlib as mpl

    gray = np.repeat(image[..., None], 3, 2)
    if values is not None:
        values = values - (0 if signed else values.min())
        share = np.clip(values / (float(np.quantile(np.abs(values), 0.99)) or 1.0), -1, 1)[..., None]
        color = (
            np.where(share > 0, (1.0, 0.35, 0.25), (0.3, 0.65, 1.0))
            if signed
            else mpl.colormaps["magma"](share[..., 0])
        )
        weight = 0.9 * np.abs(share) ** 0.7
        gray = gray * (0.5 if signed else 0.7) * (1 - weight) + color[..., :3] * weight
    size = (round(HEIGHT * image.shape[1] / image.shape[0]), HEIGHT)
    small = cv2.resize((gray * 255).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    outline = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    lines, _ = cv2.findContours(outline, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn: Array = cv2.drawContours(np.ascontiguousarray(small), lines, -1, (120, 255, 170), 1, cv2.LINE_AA)
    return drawn


def _save(name: str, pixels: Array) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).quantize(COLORS, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


def main(words: Iterable[str]) -> None:
    what, *rest = words
    made = PICTURES / "made.json"
    if what in ("pictures", "add"):
        first = {"network": rest.pop(0)} if what == "pictures" else {}
        options = {rest[i].removeprefix("--"): rest[i + 1] for i in range(0, len(rest), 2)}
        finding = options.pop("finding", "Pleural Effusion")
        networks = {needs: _opened(spec) for needs, spec in {**first, **options}.items()}
        facts = pictures(networks, finding) if first else added(networks, json.loads(made.read_text()))
        made.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    (DOCS / "catalogue.md").write_text(page(json.loads(made.read_text())))


def _opened(spec: str) -> sl.Model:
    """A pair that is asked in words finds what it is asked for."""
    return sl.open_model(spec, CHEXLOCALIZE_FINDINGS) if spec.startswith("contrastive:") else sl.open_model(spec)


if __name__ == "__main__":
    main(sys.argv[1:])

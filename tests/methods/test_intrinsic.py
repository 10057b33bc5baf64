"""Maps that the network brings itself."""

from __future__ import annotations

import pytest
import torch
from networks import Flattened, batch, model
from torch import nn
from torch.nn import functional as F

from sightline.errors import SightlineError
from sightline.methods import saliency


def test_own_maps_are_the_networks_for_the_findings_asked() -> None:
    m, x = model(), batch(2)
    with m.eval_mode() as net, torch.no_grad():
        wanted = net.maps(x)
    assert torch.equal(saliency(m, x, ["Pleural Effusion", "Edema"], ["intrinsic"])["intrinsic"], wanted[:, [2, 1]])


@pytest.mark.parametrize("both", [True, False], ids=["with and without", "one phrase"])
def test_likeness_is_the_cosine_of_patch_and_phrase(both: bool) -> None:
    m, x = model(), batch(2)
    if not both:
        m.net.text_embeddings = nn.Parameter(m.net.text_embeddings[:, 0].detach())
    got = saliency(m, x, None, ["image-text"])["image-text"]
    with torch.no_grad():
        patches, texts = m.net.eval().patch_embeddings(x), m.net.text_embeddings.detach()
    for n in range(2):
        for f in range(3):
            for row, col in ((0, 0), (5, 7), (11, 11)):
                place = patches[n, :, row, col]
                alike = [F.cosine_similarity(place, text, dim=0) for text in texts[f].reshape(-1, 12)]
                wanted = alike[0] - alike[1] if both else alike[0]
                assert abs(float(got[n, f, row, col] - wanted)) < 1e-5


@pytest.mark.parametrize(
    ("name", "what"), [("intrinsic", "a method maps"), ("image-text", "a method patch_embeddings")]
)
def test_a_network_without_says_what_it_would_need(name: str, what: str) -> None:
    with pytest.raises(SightlineError, match=f"needs a network with {what}"):
        saliency(model(Flattened()), batch(1), None, [name])


def test_maps_and_texts_of_the_wrong_shape_are_refused() -> None:
    m = model()
    m.net.maps = lambda x: torch.zeros(len(x), 2, 4, 4)
    with pytest.raises(SightlineError, match=r"gives \(1, 2, 4, 4\); it must give \(1, 3, h, w\)"):
        saliency(m, batch(1), None, ["intrinsic"])
    m.net.text_embeddings = nn.Parameter(torch.zeros(2, 12))
    with pytest.raises(SightlineError, match=r"are \(2, 12\); allowed: \(3, 12\) or \(3, 2, 12\)"):
        saliency(m, batch(1), None, ["image-text"])

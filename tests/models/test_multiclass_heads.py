"""Heads of several classes per finding are one logit whose sigmoid is their softmax."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional as F

import sightline as sl
from sightline.models.checkpoint import save_checkpoint


def test_two_classes_are_a_softmax_over_absent_and_present(tmp_path: Path) -> None:
    model = sl.open_model("two-class:small?side=32", ["Edema", "Pneumothorax"], seed=3)
    x = torch.randn(3, 1, 32, 32)
    net = model.net.eval()
    with torch.no_grad():
        logits, pairs = net(x), net.net(x)  # type: ignore[operator]
    assert pairs.shape == (3, 4)
    present = pairs.reshape(3, 2, 2).softmax(2)[:, :, 1]
    torch.testing.assert_close(logits.sigmoid(), present)
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(
        F.binary_cross_entropy_with_logits(logits, labels), F.cross_entropy(pairs.reshape(-1, 2), labels.long().ravel())
    )
    save_checkpoint(model, tmp_path / "two.pt")
    again = sl.open_model(str(tmp_path / "two.pt"))
    assert again.findings == model.findings
    maps = [sl.saliency(m, x, None, ["grad-cam"])["grad-cam"] for m in (model, again)]
    assert torch.equal(*maps)

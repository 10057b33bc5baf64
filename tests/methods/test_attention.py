"""Rollout and relevance by plain formulas on a transformer opened by hand; networks without attention are refused."""

from __future__ import annotations

import pytest
import timm
import torch
from networks import FINDINGS, batch, model, transformer
from torch import Tensor

from sightline.errors import SightlineError
from sightline.methods import saliency
from sightline.models import Model, open_model, state_hash, wrap


def plainly(m: Model, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Attention of each block by timm's own unfused path, kept by hooks, and logits, with their graph."""
    kept: list[Tensor] = []
    handles = []
    for block in m.net.eval().blocks:
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_hook(lambda module, args, out: kept.append(out)))
    logits = m.net(x.clone().requires_grad_())
    for handle, block in zip(handles, m.net.blocks, strict=True):
        handle.remove()
        block.attn.fused_attn = True
    return kept, logits


def test_rollout_and_relevance_are_their_formulas() -> None:
    m, x = transformer(), batch(2)
    got = saliency(m, x, None, ["attention-rollout", "attention-relevance"])
    kept, logits = plainly(m, x)
    tokens = kept[0].shape[-1]
    for n in range(2):
        flow = torch.eye(tokens)
        for a in kept:
            mixed = a[n].mean(0).detach() + torch.eye(tokens)
            flow = (mixed / mixed.sum(1, keepdim=True)) @ flow
        assert torch.allclose(got["attention-rollout"][n, 1].flatten(), flow[0, 1:], atol=1e-6)
        for target in range(3):
            gradients = torch.autograd.grad(logits[n, target], kept, retain_graph=True)
            relevance = torch.eye(tokens)
            for a, g in zip(kept, gradients, strict=True):
                relevance = relevance + (a[n].detach() * g[n]).relu().mean(0) @ relevance
            wanted = relevance[0, 1:]
            assert float(wanted.max()) > 0
            found = got["attention-relevance"][n, target].flatten()
            assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.max()))


def test_the_transformer_is_left_as_it_was() -> None:
    m = transformer()
    before = state_hash(m.net), [block.attn.fused_attn for block in m.net.blocks]
    saliency(m, batch(1), None, ["attention-relevance"])
    assert (state_hash(m.net), [block.attn.fused_attn for block in m.net.blocks]) == before


def test_transformers_of_the_zoo() -> None:
    torch.manual_seed(0)
    x = torch.randn((1, 3, 64, 64))
    small = open_model("vit_small_patch16_224?side=64", ["Edema"])
    pooled = wrap(
        timm.models.VisionTransformer(
            img_size=64,
            patch_size=16,
            embed_dim=24,
            depth=1,
            num_heads=2,
            num_classes=1,
            class_token=False,
            global_pool="avg",
        ),
        ["Edema"],
        side=64,
    )
    torchvision_vit = open_model("torchvision:vit_b_16?side=64", ["Edema"])
    for m in (small, pooled, torchvision_vit):
        got = saliency(m, x, None, ["attention-rollout", "attention-relevance"])
        assert {tuple(maps.shape) for maps in got.values()} == {(1, 1, 4, 4)}, m.name
        assert float(got["attention-rollout"].min()) > 0


def test_networks_without_attention_are_refused() -> None:
    with pytest.raises(SightlineError, match="plain shows 0 attentions over one set of tokens"):
        saliency(model(), batch(1), list(FINDINGS), ["attention-rollout"])

"""What a transformer attends to: rollout of attention, and attention weighed by its gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sightline.errors import SightlineError
from sightline.methods.context import BatchContext
from sightline.methods.registry import methods


class _AttentionRecorder(TorchFunctionMode):
    """Keeps every square attention (N, heads, tokens, tokens) that a network computes, fused or not, with its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.attentions: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            return self._unfused_attention(*args, **kwargs)
        if name == "multi_head_attention_forward":
            return self._call_multi_head(func, args, kwargs)
        out = func(*args, **kwargs)
        if name == "softmax" and isinstance(out, Tensor) and out.dim() == 4 and out.shape[2] == out.shape[3]:
            self.attentions.append(out)
        return out

    def _call_multi_head(self, func: Any, args: Any, kwargs: Any) -> Any:
        """torch.nn.MultiheadAttention: what it calls is not shown to a mode, so the kernel is put in its place."""
        fused = F.scaled_dot_product_attention
        try:
            F.scaled_dot_product_attention = self._unfused_attention
            return func(*args, **{**kwargs, "need_weights": False})
        finally:
            F.scaled_dot_product_attention = fused

    def _unfused_attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The fused kernel's result by its formula; dropout is off in evaluation."""
        mask = kwargs.get("attn_mask", args[0] if args else None)
        scale = kwargs.get("scale") or 1 / math.sqrt(query.shape[-1])
        logits = query @ key.transpose(-2, -1) * scale
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
        attention = logits.softmax(-1)
        if attention.dim() == 4 and attention.shape[2] == attention.shape[3]:
            self.attentions.append(attention)
        return attention @ value


def _record_attentions(context: BatchContext) -> tuple[list[Tensor], Tensor]:
    """(attention of each block (N, heads, tokens, tokens), logits (N, F)), with their graph."""
    x = context.x.clone().requires_grad_()
    with _AttentionRecorder() as mode:
        logits = context.model.net(x)
    if not mode.attentions or len({a.shape[-1] for a in mode.attentions}) != 1:
        raise SightlineError(
            f"{context.model.name} shows {len(mode.attentions)} attentions over one set of tokens; this method "
            "needs a plain "
            f"vision transformer (for windowed or convolutional networks use grad-cam)"
        )
    return mode.attentions, logits


def _to_grid(context: BatchContext, relevance: Tensor) -> Tensor:
    """What the tokens that are read (the first where there is a class token, else all) get from each place.

    (..., tokens, tokens) -> (..., h', w').
    """
    tokens = relevance.shape[-1]
    cut = context.model.feature_layer
    prefix = cut.n_prefix_tokens if cut is not None and cut.layout == "tokens" else tokens - math.isqrt(tokens) ** 2
    side = math.isqrt(tokens - prefix)
    if side * side != tokens - prefix:
        raise SightlineError(
            f"{tokens} tokens less {prefix} leading ones are no square grid; wrap with feature_module='...[1:]'"
        )
    read = relevance[..., 0, :] if prefix else relevance.mean(-2)
    places: Tensor = read[..., prefix:]
    return places.reshape(*places.shape[:-1], side, side)


@methods(
    "attention-rollout",
    needs="attention",
    signed=False,
    class_agnostic=True,
    resolution="own",
    source="Abnar and Zuidema 2020, arXiv:2005.00928",
)
def attention_rollout(context: BatchContext, targets: Tensor) -> Tensor:
    """Attention of all blocks multiplied through, half of each block being the shortcut; (N, T, h', w').

    Heads are averaged. The same for every finding: attention tells where a network looks, not what for.
    """
    kept, _ = _record_attentions(context)
    flow = torch.eye(kept[0].shape[-1], device=context.x.device)
    for attention in kept:
        mixed = 0.5 * attention.detach().mean(1) + 0.5 * torch.eye(attention.shape[-1], device=context.x.device)
        flow = mixed @ flow  # rows of attention sum to 1, and so does their mean with the identity
    return _to_grid(context, flow)[:, None].expand(-1, len(targets), -1, -1)


@methods(
    "attention-relevance",
    needs="attention",
    signed=False,
    class_agnostic=False,
    resolution="own",
    source="Chefer et al. 2021, arXiv:2103.15679",
)
def attention_relevance(context: BatchContext, targets: Tensor) -> Tensor:
    """Attention times its positive gradients, added up from block to block; float32 (N, T, h', w')."""
    kept, logits = _record_attentions(context)
    scores = logits if context.target_output == "logit" else logits.sigmoid()
    maps = []
    for place, target in enumerate(targets.tolist()):
        gradients = torch.autograd.grad(scores[:, target].sum(), kept, retain_graph=place < len(targets) - 1)
        relevance = torch.eye(kept[0].shape[-1], device=context.x.device).expand(context.x.shape[0], -1, -1)
        for attention, gradient in zip(kept, gradients, strict=True):
            relevance = relevance + (attention.detach() * gradient).clamp(min=0).mean(1) @ relevance
        relevance = relevance - torch.eye(relevance.shape[-1], device=context.x.device)  # what a token says of itself
        maps.append(_to_grid(context, relevance))
    return torch.stack(maps, 1)

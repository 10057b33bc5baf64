"""Attention of vision transformers as maps: its rollout, and attention weighted by its gradients."""

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
    """A mode that records every square attention (N, heads, tokens, tokens) with its graph, fused or not."""

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
        """Replace the kernel within torch.nn.MultiheadAttention, whose inner calls a mode does not see."""
        fused = F.scaled_dot_product_attention
        try:
            F.scaled_dot_product_attention = self._unfused_attention
            return func(*args, **{**kwargs, "need_weights": False})
        finally:
            F.scaled_dot_product_attention = fused

    def _unfused_attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the fused kernel's result by its formula; dropout is off in evaluation."""
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
    """Return the attention of each block (N, heads, tokens, tokens) and the logits (N, F), with their graph."""
    x = context.x.clone().requires_grad_()
    with _AttentionRecorder() as recorder:
        logits = context.model.net(x)
    attentions: list[Tensor] = recorder.attentions
    if len({attention.shape[-1] for attention in attentions}) != 1:
        raise SightlineError(
            f"{context.model.name} shows {len(attentions)} attentions over one set of tokens; this method needs a "
            "plain vision transformer (for windowed or convolutional networks use grad-cam)"
        )
    return attentions, logits


def _to_grid(context: BatchContext, relevance: Tensor) -> Tensor:
    """Arrange (..., tokens, tokens) as the grid (..., h', w') of what the output tokens receive from each patch.

    The output token is the first where there is a class token, else the mean of all.
    """
    n_tokens = relevance.shape[-1]
    layer = context.model.feature_layer
    has_tokens = layer is not None and layer.layout == "tokens"
    n_prefix = layer.n_prefix_tokens if layer and has_tokens else n_tokens - math.isqrt(n_tokens) ** 2
    side = math.isqrt(n_tokens - n_prefix)
    if side * side != n_tokens - n_prefix:
        raise SightlineError(
            f"{n_tokens} tokens without the {n_prefix} leading ones are no square grid; wrap the network with "
            "feature_module='...[1:]'"
        )
    received = relevance[..., 0, :] if n_prefix else relevance.mean(-2)
    patches: Tensor = received[..., n_prefix:]
    return patches.reshape(*patches.shape[:-1], side, side)


@methods(
    "attention-rollout",
    needs="attention",
    signed=False,
    class_agnostic=True,
    resolution="intrinsic",
    source="Abnar and Zuidema 2020, arXiv:2005.00928",
)
def attention_rollout(context: BatchContext, targets: Tensor) -> Tensor:
    """Multiply the attention of all blocks, half of each block being the residual connection; (N, T, h', w').

    Heads are averaged. The map is the same for every finding: attention depends on no output.
    """
    attentions, _ = _record_attentions(context)
    flow = torch.eye(attentions[0].shape[-1], device=context.x.device)
    for attention in attentions:
        mixed = 0.5 * attention.detach().mean(1) + 0.5 * torch.eye(attention.shape[-1], device=context.x.device)
        flow = mixed @ flow  # rows of attention sum to 1, and so does their mean with the identity
    return _to_grid(context, flow)[:, None].expand(-1, len(targets), -1, -1)


@methods(
    "attention-relevance",
    needs="attention",
    signed=False,
    class_agnostic=False,
    resolution="intrinsic",
    source="Chefer et al. 2021, arXiv:2103.15679",
)
def attention_relevance(context: BatchContext, targets: Tensor) -> Tensor:
    """Add up attention times its positive gradients from block to block; float32 (N, T, h', w')."""
    attentions, logits = _record_attentions(context)
    scores = logits if context.target_output == "logit" else logits.sigmoid()
    identity = torch.eye(attentions[0].shape[-1], device=context.x.device)
    maps = []
    for column, target in enumerate(targets.tolist()):
        is_last = column == len(targets) - 1
        gradients = torch.autograd.grad(scores[:, target].sum(), attentions, retain_graph=not is_last)
        relevance = identity.expand(context.x.shape[0], -1, -1)
        for attention, gradient in zip(attentions, gradients, strict=True):
            relevance = relevance + (attention.detach() * gradient).clamp(min=0).mean(1) @ relevance
        maps.append(_to_grid(context, relevance - identity))  # without the relevance of each token for itself
    return torch.stack(maps, 1)

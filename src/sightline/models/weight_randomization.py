"""A trained network forgets: block by block its weights are drawn anew, as the sanity check of saliency maps asks.

Adebayo et al. 2018, arXiv:1810.03292; for radiographs Arun et al. 2021, 10.1148/ryai.2021200267.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from sightline._util.rng import LAYER_WORDS, RANDOMIZED_LAYER, key_word, keyed_rng
from sightline.errors import SightlineError
from sightline.models.frozen import freeze
from sightline.models.model import Model, probe_images, reset_parameters

RandomizationOrder = Literal["top-down", "bottom-up", "independent"]
"""top-down: from the logits to the image, keeping what was drawn; bottom-up: the other way; independent: one block at
a time, the others as trained."""
RANDOMIZATION_ORDERS: tuple[RandomizationOrder, ...] = ("top-down", "bottom-up", "independent")
_MAX_BLOCK_SHARE = 0.6
"""A child that holds more than this share of the layers is no block but the body: its children are."""


@dataclass(frozen=True, slots=True)
class LayerBlock:
    """Layers that are drawn together."""

    name: str
    """Path of the module that holds them; empty for the network itself, with its class token or positions."""
    layers: tuple[str, ...]
    """Paths of the modules with weights, in the order in which a forward calls them."""

    @property
    def title(self) -> str:
        """The name, or what stands for the network itself."""
        return self.name or "own weights"


def find_layers(model: Model) -> list[str]:
    """Paths of the modules with weights of their own that the logits depend on, in the order of a forward's calls.

    A module that is never called itself while its weights are used (the output projection of
    `torch.nn.MultiheadAttention`) follows the module that holds it. The network itself, empty path, counts as called
    where it holds weights.
    """
    called: list[str] = []
    handles = []
    for name, module in model.net.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, __, name=name: called.append(name)))
    try:
        with freeze(model.net) as net:
            own = {n: list(m.parameters(recurse=False)) for n, m in net.named_modules()}
            weights = [w.requires_grad_() for held in own.values() for w in held]
            given = torch.autograd.grad(net(probe_images(model)).sum(), weights, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    used = {id(w) for w, gradient in zip(weights, given, strict=True) if gradient is not None}
    order = {name: at for at, name in reversed(list(enumerate(called)))}
    found = [name for name, held in own.items() if any(id(w) in used for w in held)]
    return sorted(found, key=lambda name: _first_call(name, order))


def _first_call(name: str, order: dict[str, int]) -> tuple[int, int]:
    """When the module, or else the nearest one that holds it, is called first; the holder before what it holds."""
    depth = 0
    while name and name not in order:
        name, depth = name.rpartition(".")[0], depth + 1
    return order[name], depth


def find_blocks(model: Model) -> list[LayerBlock]:
    """Blocks of layers from the logits to the image, named by the modules that hold them.

    A block is a child of the network, or of the child that holds most of the network ('features', 'body'); a child that
    is called in several places is still one block, at its last call.
    """
    return _group_layers(find_layers(model))


def _group_layers(names: Sequence[str]) -> list[LayerBlock]:
    depth = 1
    while True:
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(".".join(name.split(".")[:depth]), []).append(name)
        body = max(groups.values(), key=len)
        deeper = any(name.count(".") >= depth for name in body)
        if len(body) <= _MAX_BLOCK_SHARE * len(names) or not deeper:
            break
        depth += 1
    found = [LayerBlock(name, tuple(members)) for name, members in groups.items()]
    return sorted(found, key=lambda b: -names.index(b.layers[-1]))


def split_by_layer(model: Model) -> list[LayerBlock]:
    """Every layer a block of its own, from the logits to the image."""
    return [LayerBlock(name, (name,)) for name in reversed(find_layers(model))]


def iterate_cascade(
    model: Model, blocks: Sequence[LayerBlock], order: RandomizationOrder = "top-down", seed: int = 0
) -> Iterator[tuple[LayerBlock, Model]]:
    """The model after each block that is drawn anew, with the block; the model given is never touched.

    A layer gets the same weights in every order: they are keyed by (seed, path). The model yielded changes with the
    next step; use it before. Its name tells the stage.
    """
    if order not in RANDOMIZATION_ORDERS:
        raise SightlineError(f"order={order!r}; allowed: {', '.join(RANDOMIZATION_ORDERS)}")
    net = copy.deepcopy(model.net)
    for block in reversed(blocks) if order == "bottom-up" else blocks:
        if order == "independent":
            net.load_state_dict(model.net.state_dict())
        for name in block.layers:
            reinitialize(net.get_submodule(name), seed, name)
        stage = replace(model, name=f"{model.name} without {block.title}", net=net, training_record=None)
        # Found with noise, but properties of the calls and not of the weights: no need to find them at every stage
        stage.__dict__.update({name: getattr(model, name) for name in ("has_affine_head", "supports_fast_gradients")})
        yield block, stage


def reinitialize(module: nn.Module, seed: int, name: str) -> None:
    """Weights and statistics of a module as at the start of a training, keyed by (seed, name)."""
    key = int(keyed_rng(seed, RANDOMIZED_LAYER, key_word(name, LAYER_WORDS, ".")).integers(2**62))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        reset_parameters(module)

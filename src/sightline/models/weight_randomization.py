"""Randomize the weights of a trained network block by block: the sanity check of saliency maps.

Adebayo et al. 2018, arXiv:1810.03292; for radiographs Arun et al. 2021, 10.1148/ryai.2021200267.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from sightline._util.rng import LAYER_WORDS, RANDOMIZED_LAYER, key_word, keyed_rng
from sightline.errors import SightlineError
from sightline.models.frozen import freeze
from sightline.models.initialization import (
    copy_network,
    keeps_statistics,
    owner,
    require_random,
    reset_parameters,
    tensors_outside_parameters,
)
from sightline.models.model import Model, probe_images

RandomizationOrder = Literal["top-down", "bottom-up", "independent"]
"""top-down: from the logits to the image, earlier blocks stay randomized; bottom-up: from the image to the logits;
independent: one block at a time, all others as trained."""
RANDOMIZATION_ORDERS: tuple[RandomizationOrder, ...] = ("top-down", "bottom-up", "independent")
_MAX_BLOCK_SHARE = 0.6
"""A child with more than this share of the layers is not a block but the body: its children are the blocks."""


@dataclass(frozen=True, slots=True)
class LayerBlock:
    """Layers that are randomized together."""

    name: str
    """Path of the module that contains them; empty for the network itself, with its class token or positions."""
    layers: tuple[str, ...]
    """Paths of the modules with weights, in the order in which a forward pass calls them."""

    @property
    def title(self) -> str:
        """The name, or 'own weights' for the network itself."""
        return self.name or "own weights"


def find_layers(model: Model) -> list[str]:
    """List the modules with weights that the logits depend on, in the order in which a forward pass calls them.

    A module that is never called itself while its weights are used (the output projection of
    `torch.nn.MultiheadAttention`) follows the module that contains it.

    Parameters
    ----------
    model
        Model whose network is run once, forward and backward.

    Returns
    -------
    list of str
        Paths of modules; empty for the network itself, which counts as called if it has weights directly.

    Raises
    ------
    SightlineError
        If the network has no weights that can be found.
    """
    called: list[str] = []
    frozen: list[Tensor] = []
    paths = {id(module): name for name, module in model.net.named_modules()}
    handle = register_module_forward_pre_hook(lambda module, _: called.append(paths.get(id(module), "elsewhere")))
    try:  # a hook of all modules: scripted ones take none of their own
        with freeze(model.net) as net:
            others = {name: tensors_outside_parameters(module) for name, module in net.named_modules()}
            frozen = [t for tensors in others.values() for t in tensors if not t.requires_grad]
            by_module = {name: [*m.parameters(recurse=False), *others[name]] for name, m in net.named_modules()}
            weights = [w.requires_grad_() for tensors in by_module.values() for w in tensors]
            if not weights:
                raise SightlineError(
                    f"the weights of {model.name} cannot be drawn anew: none can be found; they are hidden in a "
                    "compiled, scripted or quantized network, or in lists and dictionaries; give the network as it "
                    "was before, with its weights as parameters"
                )
            gradients = torch.autograd.grad(net(probe_images(model)).sum(), weights, allow_unused=True)
    finally:
        handle.remove()
        for tensor in frozen:
            tensor.requires_grad_(False)
    used = {id(w) for w, gradient in zip(weights, gradients, strict=True) if gradient is not None}
    positions = {name: position for position, name in reversed(list(enumerate(called)))}
    depended = (name for name, tensors in by_module.items() if any(id(w) in used for w in tensors))
    bare = (name for name, tensors in by_module.items() if name in positions and not tensors)
    counted = (name for name in bare if keeps_statistics(model.net.get_submodule(name)))
    names = dict.fromkeys(owner(name) for name in (*depended, *counted))
    return sorted(names, key=lambda name: _first_call(name, positions))


def _first_call(name: str, positions: dict[str, int]) -> tuple[int, int]:
    """Sort key: first call of the module, or of the nearest one around it; the outer module before the inner one."""
    depth = 0
    while name and name not in positions:
        name, depth = name.rpartition(".")[0], depth + 1
    return positions[name], depth


def find_blocks(model: Model) -> list[LayerBlock]:
    """Group the layers of a network into blocks, from the logits to the image.

    A block is a child of the network, or of the child that contains most of the network ('features', 'body'). A child
    that is called in several places is still one block, at its last call.

    Parameters
    ----------
    model
        Model whose network is run once, forward and backward.

    Returns
    -------
    list of LayerBlock
        Blocks, named by the modules that contain them.
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
    blocks = [LayerBlock(name, tuple(members)) for name, members in groups.items()]
    return sorted(blocks, key=lambda b: -names.index(b.layers[-1]))


def split_by_layer(model: Model) -> list[LayerBlock]:
    """Make a block of every single layer, from the logits to the image.

    Parameters
    ----------
    model
        Model whose network is run once, forward and backward.

    Returns
    -------
    list of LayerBlock
        Blocks of one layer each.
    """
    return [LayerBlock(name, (name,)) for name in reversed(find_layers(model))]


def iterate_cascade(
    model: Model, blocks: Sequence[LayerBlock], order: RandomizationOrder = "top-down", seed: int = 0
) -> Iterator[tuple[LayerBlock, Model]]:
    """Randomize one block after the other and yield the model at each stage.

    A layer gets the same random weights in every order: they are keyed by (seed, path).

    Parameters
    ----------
    model
        Trained model, which is never changed.
    blocks
        Blocks from the logits to the image, as `find_blocks` returns them.
    order
        Order of the blocks, see `RandomizationOrder`.
    seed
        Seed of the random weights.

    Yields
    ------
    block : LayerBlock
        Block that was randomized last.
    stage : Model
        Model at this stage, named by it. The next step changes its network: use it before.

    Raises
    ------
    SightlineError
        For an unknown order.
    """
    if order not in RANDOMIZATION_ORDERS:
        raise SightlineError(f"order={order!r}; allowed: {', '.join(RANDOMIZATION_ORDERS)}")
    _require_random_layers(model, blocks, seed)
    net = copy_network(model.net)
    for block in reversed(blocks) if order == "bottom-up" else blocks:
        if order == "independent":
            net.load_state_dict(model.net.state_dict())
        for name in block.layers:
            reinitialize(net, name, seed)
        stage = replace(model, name=f"{model.name} without {block.title}", net=net, training_record=None)
        # Probed with noise, but properties of the calls and not of the weights: no need to probe every stage
        stage.__dict__.update({name: getattr(model, name) for name in ("has_affine_head", "supports_fast_gradients")})
        yield block, stage


def _require_random_layers(model: Model, blocks: Sequence[LayerBlock], seed: int) -> None:
    """Check once that every layer of the blocks can be drawn anew; a layer gets the same weights in every order."""
    layers = [name for block in blocks for name in block.layers]
    net = copy_network(model.net)
    for name in layers:
        reinitialize(net, name, seed)
    require_random(model.name, model.net, net, probe_images(model), layers)


def reinitialize(net: nn.Module, name: str, seed: int) -> None:
    """Set the weights and statistics of one layer as at the start of a training, keyed by (seed, name).

    Parameters
    ----------
    net
        Network that has the layer; it is changed in place.
    name
        Path of the layer in the network.
    seed
        Seed of the random weights.
    """
    ours = type(net).__module__.startswith("sightline.")
    word = key_word(name, LAYER_WORDS, ".") if ours else name
    key = int(keyed_rng(seed, RANDOMIZED_LAYER, word).integers(2**62))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        reset_parameters(net.get_submodule(name))


def with_random_weights(model: Model, seed: int = 0) -> Model:
    """Return an untrained copy of a model: the control that shows which maps the architecture alone gives.

    Parameters
    ----------
    model
        Model whose architecture is copied.
    seed
        Seed of the random weights.

    Returns
    -------
    Model
        A copy named 'untrained', with random weights and without a training record.
    """
    net = copy_network(model.net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in net.named_modules():
            if owner(name) == name:
                reset_parameters(module)
    require_random(model.name, model.net, net, probe_images(model))
    return replace(model, name="untrained", net=net, training_record=None)

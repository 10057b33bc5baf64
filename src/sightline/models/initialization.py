"""Draw the weights of a network anew, wherever they are stored, and find what kept its trained values.

A weight can be computed from other tensors (weight normalization, spectral normalization, pruning, parametrizations)
or lie in a buffer (frozen batch normalization). A control network that keeps such a weight is not random, and a test
that compares with it compares the trained network with itself.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrize

from sightline.errors import SightlineError
from sightline.models.frozen import freeze

_MAX_FIXED_VALUES = 16
"""A buffer with at most so many distinct values is a mask, a filter or a normalization, and not a learned weight."""
_POWER_ITERATIONS = 15
"""Steps after which a spectral norm has settled on weights that were drawn anew."""
_START_VALUES = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
"""Values of a batch normalization before training."""
_PARAMETRIZATIONS = ".parametrizations."


def copy_network(net: nn.Module) -> nn.Module:
    """Copy a network, even one whose weights were computed in a forward pass that recorded gradients.

    Parameters
    ----------
    net
        Network that is copied; computed weights lose their history, and are computed again in the next pass.

    Returns
    -------
    nn.Module
        A copy that shares nothing with the network.
    """
    for module in net.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                vars(module)[name] = value.detach()
    return copy.deepcopy(net)


def keeps_statistics(module: nn.Module) -> bool:
    """Return True for a normalization that uses statistics of the training data.

    Parameters
    ----------
    module
        Module of a network.

    Returns
    -------
    bool
        True for batch normalizations, also without weights of their own.
    """
    return "running_var" in dict(module.named_buffers(recurse=False))


def owner(name: str) -> str:
    """Return the path of the module that a parametrization computes a tensor of.

    Parameters
    ----------
    name
        Path of a module.

    Returns
    -------
    str
        The path itself for a module that is no part of a parametrization.

    Examples
    --------
    >>> owner("body.fc.parametrizations.weight"), owner("body.fc")
    ('body.fc', 'body.fc')
    """
    return f".{name}".partition(_PARAMETRIZATIONS)[0][1:]


def tensors_outside_parameters(module: nn.Module) -> list[Tensor]:
    """Return what one module holds of learned values outside its parameters, without the modules inside it.

    Parameters
    ----------
    module
        Module of a network.

    Returns
    -------
    list of Tensor
        Buffers that are saved with the weights, and plain attributes: floating-point tensors with more distinct values
        than a mask, a filter or a normalization of images.
    """
    return [*_learned_buffers(module), *(value for value in vars(module).values() if _is_learned("", value))]


def _learned_buffers(module: nn.Module) -> Iterator[Tensor]:
    if isinstance(module, _NormBase):
        return  # it resets its own statistics
    fixed = getattr(module, "_non_persistent_buffers_set", ())
    yield from (b for name, b in module.named_buffers(recurse=False) if name not in fixed and _is_learned(name, b))


def _is_learned(name: str, value: Any) -> bool:
    """Return True for a tensor of many values, and for weights, offsets and statistics by their names."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    is_named = name.endswith(("weight", "bias")) or name in _START_VALUES
    return is_named or (value.numel() > _MAX_FIXED_VALUES and torch.unique(value).numel() > _MAX_FIXED_VALUES)


@torch.no_grad()
def reset_parameters(module: nn.Module) -> None:
    """Draw the weights of one module at random and reset its statistics; modules inside it are left alone.

    A module initializes itself by its method `reset_parameters`; what its weights are computed from is set so that
    they become these. Whatever then still has its value (class tokens, positions, a layer defined elsewhere, a buffer
    that holds learned values) is drawn from a normal distribution with its own mean and standard deviation. A tensor
    whose elements are all equal stays as it is.

    Parameters
    ----------
    module
        Module that is changed in place, by torch's global random numbers.
    """
    if parametrize.is_parametrized(module):
        _reset_parametrized(module)
        return
    stored = [*module.parameters(recurse=False), *tensors_outside_parameters(module)]
    before = [tensor.clone() for tensor in stored]
    _reset_statistics(module)
    computed = _initialize(module)
    for tensor, old in zip(stored, before, strict=True):
        if torch.equal(tensor, old):
            _draw(tensor)
    for name, value in computed.items():
        _store_computed(module, name, value)


def _draw(tensor: Tensor) -> None:
    """Draw a tensor from a normal distribution with its own mean and standard deviation, unless it is constant."""
    if not _is_constant(tensor):
        tensor.normal_(float(tensor.mean()), float(tensor.std()))


def _initialize(module: nn.Module) -> dict[str, Tensor]:
    """Call the module's own initialization; return the values it gave to weights that are computed in each pass."""
    reset = getattr(module, "reset_parameters", None)
    if not callable(reset):
        return {}
    names = [name for name, value in vars(module).items() if isinstance(value, Tensor)]
    try:
        reset()
    except TypeError:  # a method of the user's own that needs arguments
        return {}
    return {name: vars(module)[name].clone() for name in names}


def _reset_statistics(module: nn.Module) -> None:
    """Reset a normalization with frozen statistics, which cannot initialize itself."""
    is_frozen = not callable(getattr(module, "reset_parameters", None))
    if is_frozen and keeps_statistics(module):
        for name, buffer in module.named_buffers(recurse=False):
            if name in _START_VALUES:
                buffer.fill_(_START_VALUES[name])


def _store_computed(module: nn.Module, name: str, value: Tensor) -> None:
    """Set what a hook computes a weight from (weight norm, spectral norm, pruning), so that it becomes the value."""
    direction, length = getattr(module, f"{name}_v", None), getattr(module, f"{name}_g", None)
    if isinstance(direction, nn.Parameter) and isinstance(length, nn.Parameter):
        direction.copy_(value)
        axes = [axis for axis, size in enumerate(length.shape) if size == 1]
        length.copy_(torch.linalg.vector_norm(value, dim=axes or None, keepdim=bool(axes)))
    original, mask = getattr(module, f"{name}_orig", None), getattr(module, f"{name}_mask", None)
    if isinstance(original, nn.Parameter):
        original.copy_(value)
    if isinstance(original, nn.Parameter) and isinstance(mask, Tensor):  # as many weights are pruned, but others
        mask.copy_(mask.flatten()[torch.randperm(mask.numel())].view_as(mask))
    for hook in module._forward_pre_hooks.values():
        if hasattr(hook, "compute_weight") and hasattr(hook, "n_power_iterations"):
            for _ in range(_POWER_ITERATIONS):
                hook.compute_weight(module, True)


def _reset_parametrized(module: nn.Module) -> None:
    """Give a module with parametrized weights those of an initialization, or draw what they are computed from."""
    plain = _without_parametrizations(module)
    reset_parameters(plain)
    for name, parameter in module.named_parameters(recurse=False):
        parameter.copy_(getattr(plain, name))
    for name, values in module.parametrizations.items():  # type: ignore[operator,union-attr]
        try:
            setattr(module, name, getattr(plain, name).detach())
        except (NotImplementedError, RuntimeError, TypeError, ValueError):  # it has no inverse
            for tensor in values.parameters():
                _draw(tensor)
        was_training = values.training
        values.train()
        for _ in range(_POWER_ITERATIONS if list(values.buffers()) else 0):
            getattr(module, name)
        values.train(was_training)


def _without_parametrizations(module: nn.Module) -> nn.Module:
    """Return a module of the same values and the class before it was parametrized; it shares no parameter."""
    kind = parametrize.type_before_parametrizations(module)
    plain: nn.Module = object.__new__(kind)  # torch removes parametrizations from the class, which copies share
    vars(plain).update(vars(module))
    values = {name: getattr(module, name) for name in module.parametrizations}  # type: ignore[union-attr]
    values |= dict(module.named_parameters(recurse=False))
    plain._parameters = {name: nn.Parameter(value.detach().clone()) for name, value in values.items()}
    plain._buffers = {name: None if b is None else b.clone() for name, b in module._buffers.items()}
    plain._modules = {name: child for name, child in module._modules.items() if name != "parametrizations"}
    return plain


def find_kept_layers(
    trained: nn.Module, randomized: nn.Module, x: Tensor, layers: Collection[str] | None = None
) -> list[str]:
    """Find the layers of a randomized network that still are as they were trained.

    A layer was kept if a tensor that it holds or computes is the same, or if it gives the same output for the same
    input although it holds weights that cannot be read (quantized layers, TorchScript).

    Parameters
    ----------
    trained
        Network as trained; it is run once.
    randomized
        A copy of it whose weights were drawn anew.
    x : (N, C, H, W) float32
        Input of the network.
    layers
        Paths of the layers that were drawn anew; all by default.

    Returns
    -------
    list of str
        Paths of modules; the empty path for the network itself, also if the two networks give the same output.
    """
    kept: list[str] = []
    twins = dict(randomized.named_modules())
    hidden = {id(module): name for name, module in trained.named_modules() if _hides_weights(module)}

    def compare(module: nn.Module, args: Any, output: Any) -> None:
        name = hidden.get(id(module))
        if name is not None and name not in kept and _is_same_output(twins[name](*args), output):
            kept.append(name)

    with freeze(trained), freeze(randomized), torch.no_grad():
        handle = register_module_forward_hook(compare)  # of all modules: scripted ones take no hook of their own
        try:
            before = trained(x)
        finally:
            handle.remove()
        if "" not in kept and _is_same_output(randomized(x), before):
            kept.append("")
    for name, module in trained.named_modules():
        is_drawn = owner(name) == name and (layers is None or name in layers)
        if is_drawn and name not in kept and _shares_a_tensor(module, twins[name]):
            kept.append(name)
    return kept


def require_random(
    model_name: str, trained: nn.Module, randomized: nn.Module, x: Tensor, layers: Collection[str] | None = None
) -> None:
    """Check that no layer of a randomized network is as it was trained.

    Parameters
    ----------
    model_name
        Name of the model, for the error.
    trained, randomized, x, layers
        As in `find_kept_layers`.

    Raises
    ------
    SightlineError
        If a layer was kept: a control with trained weights would be reported as random.
    """
    kept = find_kept_layers(trained, randomized, x, layers)
    if kept:
        names = ", ".join(layer or f"the network itself ({type(trained).__name__})" for layer in kept[:3])
        more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
        raise SightlineError(
            f"the weights of {model_name} cannot be drawn anew: {names}{more} would stay as trained, so that a control "
            "with random weights would be compared with itself; give the network as it was before it was quantized, "
            "scripted or folded, or give these modules a method reset_parameters that draws their weights"
        )


def _shares_a_tensor(module: nn.Module, twin: nn.Module) -> bool:
    """Return True if a learned tensor that a module holds or computes has the same values in its twin."""
    return any(torch.equal(a, b) for a, b in zip(_tensors(module), _tensors(twin), strict=False) if not _is_constant(a))


def _tensors(module: nn.Module) -> list[Tensor]:
    """Return the learned tensors of one module: parameters, buffers, and weights that are computed from others."""
    if parametrize.is_parametrized(module):
        with torch.no_grad():
            return [getattr(module, name) for name in module.parametrizations]  # type: ignore[union-attr]
    computed = [n for n in vars(module) if hasattr(module, f"{n}_v") or hasattr(module, f"{n}_orig")]
    values = [vars(module)[name] for name in computed]
    return [*module.parameters(recurse=False), *_learned_buffers(module), *(v for v in values if isinstance(v, Tensor))]


def _hides_weights(module: nn.Module) -> bool:
    return hasattr(module, "_packed_params") or isinstance(module, torch.jit.ScriptModule)


def _is_same_output(first: Any, second: Any) -> bool:
    first, second = (value.dequantize() if isinstance(value, Tensor) else value for value in (first, second))
    if not (isinstance(first, Tensor) and isinstance(second, Tensor)) or first.shape != second.shape:
        return False
    return bool(torch.equal(first, second)) and not _is_constant(second)


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() < 2 or bool((tensor == tensor.flatten()[0]).all())

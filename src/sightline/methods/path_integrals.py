"""Integrals of gradients along the straight path between two images, by quadratures."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor

from sightline.core import Array
from sightline.errors import SightlineError
from sightline.methods.context import BatchContext

Quadrature = Callable[[int], tuple[Array, Array]]
"""Function of a number of nodes: it returns their positions in [0, 1], and weights that sum to 1."""


def gauss_legendre(nodes: int) -> tuple[Array, Array]:
    """Return the Gauss-Legendre rule, which is exact for polynomials of degree 2 nodes - 1.

    Parameters
    ----------
    nodes : int
        Number of nodes, from 1.

    Returns
    -------
    positions, weights : ndarray, (nodes,) float64
    """
    positions, weights = cast("tuple[Array, Array]", np.polynomial.legendre.leggauss(nodes))  # on [-1, 1]
    return (positions + 1) / 2, weights / 2


def midpoint(nodes: int) -> tuple[Array, Array]:
    """Return the midpoints of equal steps.

    Parameters
    ----------
    nodes : int
        Number of nodes, from 1.

    Returns
    -------
    positions, weights : ndarray, (nodes,) float64

    Examples
    --------
    >>> midpoint(2)[0].tolist()
    [0.25, 0.75]
    """
    return (np.arange(nodes) + 0.5) / nodes, np.full(nodes, 1 / nodes)


def endpoints(nodes: int) -> tuple[Array, Array]:
    """Return equally spaced nodes from 0 to 1 with equal weights.

    Parameters
    ----------
    nodes : int
        Number of nodes, from 1; a single one is 0.

    Returns
    -------
    positions, weights : ndarray, (nodes,) float64

    Examples
    --------
    >>> endpoints(3)[0].tolist()
    [0.0, 0.5, 1.0]
    """
    return np.linspace(0, 1, nodes), np.full(nodes, 1 / nodes)


def find_quadrature(rule: str) -> Quadrature:
    """Return the quadrature of a name.

    Parameters
    ----------
    rule : {'gauss-legendre', 'uniform', 'endpoints'}
        Name.

    Returns
    -------
    Quadrature

    Raises
    ------
    SightlineError
        If there is no such rule.
    """
    rules = {"gauss-legendre": gauss_legendre, "uniform": midpoint, "endpoints": endpoints}
    if rule not in rules:
        raise SightlineError(f"rule={rule}; allowed: {', '.join(rules)}")
    return rules[rule]


def integrate_gradients(
    context: BatchContext, start: Tensor, targets: Tensor, nodes: int, quadrature: Quadrature = gauss_legendre
) -> Tensor:
    """Integrate gradients along the straight path to the images of a batch.

    Parameters
    ----------
    context : BatchContext
        The batch.
    start : Tensor, (N, C, side, side)
        Images that the path starts from.
    targets : Tensor, (T,) int64
        Indices of the findings among the logits.
    nodes : int
        Nodes of the quadrature, from 1.
    quadrature : Quadrature
        The quadrature.

    Returns
    -------
    Tensor, (N, T, side, side) float32
        The integral times image - start, channels summed.
    """
    return integrate_channels(context, start, targets, nodes, quadrature, summed=True)[:, :, 0]


def integrate_channels(
    context: BatchContext,
    start: Tensor,
    targets: Tensor,
    nodes: int,
    quadrature: Quadrature = gauss_legendre,
    *,
    summed: bool = False,
) -> Tensor:
    """Integrate gradients along the straight path to the images of a batch, channel by channel.

    Parameters
    ----------
    context, start, targets, nodes, quadrature
        As in `integrate_gradients`.
    summed : bool
        True to sum the channels to one as they are computed.

    Returns
    -------
    Tensor, (N, T, C, side, side) float32
        The integral times image - start; C is 1 if channels are summed.
    """
    step = context.x - start
    count = 1 if summed else context.x.shape[1]
    total = context.x.new_zeros((context.x.shape[0], len(targets), count, *context.x.shape[2:]))
    shares, weights = quadrature(nodes)
    points = (start + float(share) * step for share in shares)
    for weight, gradient in zip(weights, context.gradients_at(points, targets), strict=True):  # (N, T, C, h, w)
        if summed:
            total[:, :, 0] += float(weight) * torch.einsum("ntchw,nchw->nthw", gradient, step)
        else:
            total += float(weight) * gradient * step[:, None]
    return total

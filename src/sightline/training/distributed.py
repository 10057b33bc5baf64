"""Processes that train one network together: one, or one per device with Lightning Fabric."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import SightlineError


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """One process's access to all: batches are divided, gradients averaged, and validations joined."""

    fabric: Any = None
    """Lightning Fabric; None for a single process."""

    @property
    def rank(self) -> int:
        """Number of this process; process 0 writes files."""
        return 0 if self.fabric is None else int(self.fabric.global_rank)

    @property
    def size(self) -> int:
        """Number of processes."""
        return 1 if self.fabric is None else int(self.fabric.world_size)

    def wrap_network(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
        """Return the network to call in training, whose gradients are averaged over all processes.

        Parameters
        ----------
        net
            Network of this process.
        optimizer
            Its optimizer.

        Returns
        -------
        nn.Module
            The network itself for a single process.
        """
        if self.fabric is None:
            return net
        wrapped: nn.Module = self.fabric.setup(net, optimizer)[0]
        return wrapped

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of this process's share of the loss.

        Parameters
        ----------
        loss
            Loss of this process.
        """
        if self.fabric is None:
            torch.autograd.backward(loss)
        else:
            self.fabric.backward(loss)

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """Add values over all processes.

        Parameters
        ----------
        values
            Tensor of the same shape in every process.

        Returns
        -------
        Tensor
            The sum.
        """
        if self.fabric is None:
            return values
        summed: Tensor = self.fabric.all_reduce(values, reduce_op="sum")
        return summed

    def gather(self, values: Tensor) -> Tensor:
        """Join the rows of all processes, with gradients.

        Parameters
        ----------
        values : (n, ...)
            Rows of this process.

        Returns
        -------
        Tensor : (processes · n, ...)
            Rows of all processes, one after the other.
        """
        if self.fabric is None:
            return values
        gathered: Tensor = self.fabric.all_gather(values, sync_grads=True)  # (processes, n, ...)
        return gathered.flatten(0, 1)

    def synchronize(self) -> None:
        """Wait until every process is here."""
        if self.fabric is not None:
            self.fabric.barrier()


def run_processes(n_devices: int, accelerator: str, function: Callable[..., None], *arguments: Any) -> None:
    """Call `function(process_group, *arguments)` here, or in one process per device.

    Parameters
    ----------
    n_devices
        Number of processes; 1 runs the function in this one.
    accelerator
        Type of the devices: 'cpu' or 'cuda'.
    function
        Function at the top level of a module.
    *arguments
        Its other arguments, which must be picklable for several processes.

    Raises
    ------
    SightlineError
        If several devices are requested without Lightning Fabric.
    """
    if n_devices == 1:
        function(ProcessGroup(), *arguments)
        return
    if importlib.util.find_spec("lightning_fabric") is None:
        raise SightlineError(
            f"n_devices={n_devices} needs Lightning Fabric; pip install 'sightline[fabric]', or give n_devices=1"
        )
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    # Weights without a gradient, such as a classifier's head while its features are trained, must not hang a process
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    fabric = Fabric(accelerator=accelerator, devices=n_devices, strategy=strategy)
    fabric.launch(_FabricJob(function, arguments))


@dataclass(frozen=True, slots=True)
class _FabricJob:
    """A function and its arguments in the form that Fabric launches."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]

    def __call__(self, fabric: Any) -> None:
        arguments = copy.deepcopy(self.arguments)  # tensors arrive in memory that all processes share
        self.function(ProcessGroup(fabric), *arguments)

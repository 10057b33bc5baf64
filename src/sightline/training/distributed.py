"""The processes that train one network together: usually one; with several devices, one each, by Lightning Fabric."""

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
    """One process's view of all. A batch is shared out; gradients are averaged; what is validated is put together."""

    fabric: Any = None
    """None where this process is alone."""

    @property
    def rank(self) -> int:
        """0 for the process that writes."""
        return 0 if self.fabric is None else int(self.fabric.global_rank)

    @property
    def size(self) -> int:
        """How many processes."""
        return 1 if self.fabric is None else int(self.fabric.world_size)

    def wrap_network(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> nn.Module:
        """The network to call in training: its gradients are those of the whole team."""
        if self.fabric is None:
            return net
        joined, _ = self.fabric.setup(net, optimizer)
        whole: nn.Module = joined
        return whole

    def backward(self, loss: Tensor) -> None:
        """Gradients of one process's share of the loss."""
        if self.fabric is None:
            torch.autograd.backward(loss)
        else:
            self.fabric.backward(loss)

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.fabric is None:
            return values
        summed: Tensor = self.fabric.all_reduce(values, reduce_op="sum")
        return summed

    def gather(self, values: Tensor) -> Tensor:
        """Rows (n, ...) of all processes, one after the other; gradients find their way back."""
        if self.fabric is None:
            return values
        everyone: Tensor = self.fabric.all_gather(values, sync_grads=True)  # (processes, n, ...)
        return everyone.flatten(0, 1)

    def synchronize(self) -> None:
        """Until every process is here."""
        if self.fabric is not None:
            self.fabric.barrier()


def run_processes(n_devices: int, accelerator: str, function: Callable[..., None], *arguments: Any) -> None:
    """`work(team, *arguments)` here, or on several devices in as many processes, to which all of it must travel.

    Errors: `SightlineError` where several are asked for without Lightning Fabric.
    """
    if n_devices == 1:
        function(ProcessGroup(), *arguments)
        return
    if importlib.util.find_spec("lightning_fabric") is None:
        raise SightlineError(
            f"devices={n_devices} needs Lightning Fabric; pip install 'sightline[fabric]', or devices=1"
        )
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    # Weights that no gradient reaches, as of a classifier's head while its features are taught, must not hang a team
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    fabric = Fabric(accelerator=accelerator, devices=n_devices, strategy=strategy)
    fabric.launch(_FabricJob(function, arguments))


@dataclass(frozen=True, slots=True)
class _FabricJob:
    """A function of a team, with what it takes, as the function of a fabric that Fabric launches."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]

    def __call__(self, fabric: Any) -> None:
        mine = copy.deepcopy(self.arguments)  # tensors arrive in memory that all processes share
        self.function(ProcessGroup(fabric), *mine)

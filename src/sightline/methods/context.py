"""`BatchContext`: one model on one batch, evaluated lazily and cached, shared by every method and every finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import islice
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from sightline._util.parallel import prefetch
from sightline._util.rng import keyed_rng
from sightline.core import Array
from sightline.errors import SightlineError
from sightline.methods.types import BatchMemoryError, MapFlags, Prior, TargetOutput, is_out_of_memory
from sightline.models import Model
from sightline.models.fast_gradients import LOGIT_TOLERANCE, FastGradientMode
from sightline.models.feature_layer import FeatureLayer, detach_features, logits_from_features
from sightline.models.map_collapse import record_maps
from sightline.models.precision import Precision

MIN_GRADIENT_BATCH = 4
"""Smallest batch that gradients are computed in: a single image takes a processor twice the time of one among more."""


class BatchContext:
    """One model on one batch, inside a `with` block that leaves the model byte for byte as it was.

    Everything is computed when it is needed, and once: logits, probabilities, features and all feature gradients cost
    one forward together, because the network is divided at its features and gradients run through the head alone.
    Images do not influence each other. Every tensor is float32 on the device of `x`.

    Parameters
    ----------
    model : Model
        The model that is explained.
    x : Tensor, (N, C, side, side) float32
        Images as `Model.prepare` returns them.
    ids : sequence of str, optional
        Ids of the radiographs; '' each by default.
    seed : int
        Seed of methods that draw random numbers, always keyed by (seed, id, finding).
    target_output : {'logit', 'probability'}
        Output that is explained.
    prior : Prior, optional
        Maps that are known beforehand, for methods that need them.
    precision : {'float32', 'bfloat16'}
        Arithmetic of the network; methods are given float32 always.
    background : Tensor, (M, C, side, side) float32, optional
        Other prepared images that stand for the data, for baselines.

    Raises
    ------
    SightlineError
        If `x`, `ids` or `target_output` do not fit the model, or if something is computed outside the `with` block.
    BatchMemoryError
        On leaving the block, if the batch was too large for the device.
    """

    def __init__(
        self,
        model: Model,
        x: Tensor,
        *,
        ids: Sequence[str] | None = None,
        seed: int = 0,
        target_output: TargetOutput = "logit",
        prior: Prior | None = None,
        precision: Precision = "float32",
        background: Tensor | None = None,
    ) -> None:
        shape = (model.channels, model.side, model.side)
        if x.dim() != 4 or tuple(x.shape[1:]) != shape or x.dtype != torch.float32:
            raise SightlineError(
                f"{model.name} takes float32 (N, {', '.join(map(str, shape))}), not {x.dtype} {tuple(x.shape)}"
            )
        if target_output not in ("logit", "probability"):
            raise SightlineError(f"target_output={target_output!r}; allowed: 'logit', 'probability'")
        self.model, self.x = model, x.detach()
        self.ids = ("",) * x.shape[0] if ids is None else tuple(ids)
        if len(self.ids) != x.shape[0]:
            raise SightlineError(f"{len(self.ids)} ids for {x.shape[0]} images; give one per image")
        self.seed, self.prior, self._background = seed, prior, background
        self.target_output: TargetOutput = target_output
        self.precision: Precision = precision
        self.diagnostics: dict[str, Tensor] = {}
        """Quantities that methods report with their maps, for the last targets: 'METHOD/QUANTITY' -> (N, T)."""
        self.refusals: MapFlags | None = None
        """Maps that the last method refused to give, which become NaN; None: it gave all."""
        self.axiom_violations: MapFlags | None = None
        """Maps that violate an axiom of the last method and were requested all the same."""
        self._root = self  # the context whose `with` block this one lives in
        self._stack, self._is_open = ExitStack(), False
        self._forward_result: tuple[Tensor, Tensor | None] | None = None
        self._recorded_maps: list[Tensor] = []
        self._feature_gradients: dict[int, Tensor] = {}
        self._layer_contexts: dict[str, BatchContext] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self.model.eval_mode())
        self._is_open = True
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._is_open, self._forward_result = False, None
        self._recorded_maps.clear()
        self._feature_gradients.clear()
        self._layer_contexts.clear()
        self._stack.close()
        if error is not None and is_out_of_memory(error):
            raise BatchMemoryError.from_batch(self.model.name, len(self.x), self.model.side) from error

    def with_inputs(self, x: Tensor) -> BatchContext:
        """Return a context with the same model, ids and options on other images, inside the same `with` block.

        Parameters
        ----------
        x : Tensor, (N, C, side, side) float32
            As many images as this context has.

        Returns
        -------
        BatchContext
        """
        return self._derive(self.model, x, self.ids)

    def select(self, rows: Tensor) -> BatchContext:
        """Return a context with some of the images only, inside the same `with` block.

        Parameters
        ----------
        rows : Tensor, (M,) int64
            Indices of the images.

        Returns
        -------
        BatchContext
        """
        return self._derive(self.model, self.x[rows], tuple(self.ids[row] for row in rows.tolist()))

    def with_layer(self, layer: str) -> BatchContext:
        """Return a context on the same images whose features are the output of another module.

        Parameters
        ----------
        layer : str
            Path of the module in the network, as in 'features.denseblock3'; '' for this context itself.

        Returns
        -------
        BatchContext
        """
        if layer and layer not in self._layer_contexts:
            derived = self._layer_contexts[layer] = self._derive(self.model.with_feature_layer(layer), self.x, self.ids)
            derived.diagnostics = self.diagnostics
        return self._layer_contexts[layer] if layer else self

    def _derive(self, model: Model, x: Tensor, ids: tuple[str, ...]) -> BatchContext:
        derived = BatchContext(
            model,
            x,
            ids=ids,
            seed=self.seed,
            target_output=self.target_output,
            prior=self.prior,
            precision=self.precision,
            background=self._background,
        )
        derived._root = self._root
        return derived

    @property
    def background(self) -> Tensor:
        """float32 (M, C, side, side): other prepared images, which stand for the data; an error without any."""
        if self._background is None or len(self._background) == 0:
            raise SightlineError("baseline=data needs other images; give background=Tensor (M, C, side, side)")
        return self._background

    @property
    def logits(self) -> Tensor:
        """float32 (N, F): logits of every finding of the model."""
        return self._forward()[0].detach()

    @property
    def probabilities(self) -> Tensor:
        """float32 (N, F): sigmoids of the logits."""
        return self.logits.sigmoid()

    @property
    def scores(self) -> Tensor:
        """float32 (N, F): the output that is explained, logits or probabilities."""
        return self.logits if self.target_output == "logit" else self.probabilities

    @property
    def features(self) -> Tensor:
        """float32 (N, K, h', w'): the input of the pooling, or the output of the model's feature layer."""
        leaf, layer = self._head_input()
        return layer.as_map(leaf.detach()).float()

    @property
    def intrinsic_maps(self) -> Tensor | None:
        """float32 (N, F, h, w): maps that the forward left at the network's module `map_output`; None if it left none.

        A single map, (N, 1, h, w), counts for every finding.
        """
        has_maps = isinstance(getattr(self.model.net, "map_output", None), nn.Module)
        logits = self._forward()[0] if has_maps else None
        if logits is None or not self._recorded_maps:
            return None
        maps = self._recorded_maps[-1].float()
        return maps.expand(-1, logits.shape[1], -1, -1) if maps.shape[1] == 1 else maps

    def feature_gradient(self, target: int) -> Tensor:
        """Return the gradient of the score of one finding with respect to the features.

        Parameters
        ----------
        target : int
            Index of the finding among the logits.

        Returns
        -------
        Tensor, (N, K, h', w') float32
        """
        if target not in self._feature_gradients:
            logits, (leaf, layer) = self._forward()[0], self._head_input()
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), leaf, retain_graph=True)
            self._feature_gradients[target] = layer.as_map(gradient).float()
        return self._to_target_output(self._feature_gradients[target], self.logits[:, target])

    def scores_without(self, channel: int) -> Tensor:
        """Return the scores with one channel of the features set to 0.

        Parameters
        ----------
        channel : int
            Index of the channel, from 0.

        Returns
        -------
        Tensor, (N, F) float32
        """
        leaf, layer = self._head_input()
        ablated = leaf.detach().clone()
        ablated.select(layer.channel_axis, channel).zero_()
        with self._autocast():
            logits = logits_from_features(self.model.net, layer, self._input_batch(), ablated).float()
        return logits if self.target_output == "logit" else logits.sigmoid()

    def input_gradient(self, targets: Tensor, rules: AbstractContextManager[object] | None = None) -> Tensor:
        """Return the gradients of scores with respect to the images: one forward, and one backward per finding.

        Parameters
        ----------
        targets : Tensor, (T,) int64
            Indices of the findings among the logits.
        rules : context manager, optional
            Entered for the forward, to put other gradients in its calls. Their values have to stay, see `check_logits`.

        Returns
        -------
        Tensor, (N, T, C, side, side) float32
        """
        self._check_open()
        # Rules keep more than the network does for a backward: a third of the images at a time fit into one step
        parts = torch.arange(self.x.shape[0], device=self.x.device).chunk(1 if rules is None else 3)
        return torch.cat([self._input_gradient_of_rows(rows, targets, rules) for rows in parts])

    def gradients_at(self, points: Iterable[Tensor], targets: Tensor) -> Iterator[Tensor]:
        """Yield `input_gradient` at each of several batches like this one; small batches are computed together.

        Parameters
        ----------
        points : iterable of Tensor, (N, C, side, side) float32
            The batches, read as they are needed.
        targets : Tensor, (T,) int64
            Indices of the findings among the logits.

        Yields
        ------
        Tensor, (N, T, C, side, side) float32
        """
        remaining, n_together = iter(points), max(1, MIN_GRADIENT_BATCH // len(self.x))
        while group := list(islice(remaining, n_together)):
            joined = self._derive(self.model, torch.cat(group), self.ids * len(group))
            yield from joined.input_gradient(targets).chunk(len(group))

    def _input_gradient_of_rows(
        self, rows: Tensor, targets: Tensor, rules: AbstractContextManager[object] | None
    ) -> Tensor:
        """Return `input_gradient` of the images at `rows`, int64 (M,)."""
        is_fast = rules is None and self.model.supports_fast_gradients
        layout = torch.channels_last if is_fast else torch.contiguous_format
        x = self._input_batch()[rows].contiguous(memory_format=layout).requires_grad_()
        with self._autocast(), rules or (FastGradientMode() if is_fast else nullcontext()):
            logits = self.model.net(x).float()  # (M, F)
        if rules is not None:
            self.check_logits(logits, rows)
        gradients = x.new_empty((x.shape[0], len(targets), *x.shape[1:]))
        for column, target in enumerate(targets.tolist()):
            is_last = column == len(targets) - 1
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), x, retain_graph=not is_last)
            gradients[:, column] = self._to_target_output(gradient, logits[:, target].detach())
        return gradients

    def check_logits(self, logits: Tensor, rows: Tensor | slice = slice(None)) -> None:
        """Check that logits computed another way equal the model's, to 1e-5 of the largest logit (or of 1).

        Parameters
        ----------
        logits : Tensor, (M, F) float32
            The logits as a method computed them.
        rows : Tensor, (M,) int64, or slice
            Images that they are of; all by default.

        Raises
        ------
        SightlineError
            If they differ: a rule then changed the computation, and a map would explain another network.
        """
        gap = float((logits.detach() - self.logits[rows]).abs().max())
        if not gap <= LOGIT_TOLERANCE * (1 + float(self.logits.abs().max())):
            raise SightlineError(
                f"under the rules of this method {self.model.name} computes logits that differ by {gap:.2g} from its "
                "own: a call was replaced that does more than its name says, and a map would explain another network"
            )

    def standard_normal(self, draw: int) -> Tensor:
        """Draw standard normal numbers for each image, keyed by (seed, id, draw).

        Parameters
        ----------
        draw : int
            Number of the draw: each has numbers of its own.

        Returns
        -------
        Tensor, (N, C, side, side) float32
        """
        numbers: Array = np.empty((len(self.ids), *self.x.shape[1:]), np.float32)

        def fill(row: int) -> None:
            keyed_rng(self.seed, self.ids[row], draw).standard_normal(dtype=np.float32, out=numbers[row])

        list(prefetch(range(len(numbers)), fill, len(numbers)))  # in threads: an accelerator would wait for one
        return torch.from_numpy(numbers).to(self.x.device)

    def _to_target_output(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """Convert a gradient (N, ...) of the logits (N,) to that of the explained output."""
        if self.target_output == "logit":
            return gradient
        slope = logits.sigmoid() * (-logits).sigmoid()  # 1 - sigmoid would lose the digits of a confident model
        return gradient * slope[:, None, None, None]

    def _forward(self) -> tuple[Tensor, Tensor | None]:
        """Return the logits with the graph of the head, and its root (None for a model without features)."""
        self._check_open()
        if self._forward_result is not None:
            return self._forward_result
        net, layer = self.model.net, self.model.feature_layer
        with self._autocast(), record_maps(net) as recorded_maps:
            if layer is None:
                with torch.no_grad():
                    self._forward_result = net(self._input_batch()).float(), None
            else:
                with detach_features(net, layer) as detached:
                    logits = net(self._input_batch()).float()  # no graph before the features: nothing requires one
                if detached.tensor is None:
                    raise SightlineError(
                        f"{self.model.name} did not reach {layer.name} as when it was wrapped; wrap it again, or name "
                        f"a module with feature_module='...'"
                    )
                self._forward_result = logits, detached.tensor
        self._recorded_maps = recorded_maps
        return self._forward_result

    def _head_input(self) -> tuple[Tensor, FeatureLayer]:
        leaf, layer = self._forward()[1], self.model.feature_layer
        if leaf is None or layer is None:
            raise SightlineError(
                f"{self.model.name} has no features: no call of its forward pools a map to one cell. Wrap it with "
                f"feature_module='path.of.module' (for a transformer the last block's first norm, 'blocks.11.norm1')"
            )
        return leaf, layer

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _input_batch(self) -> Tensor:
        """Return the images in the layout that suits the arithmetic: bfloat16 kernels want channels last."""
        return self.x if self.precision == "float32" else self.x.contiguous(memory_format=torch.channels_last)

    def _check_open(self) -> None:
        if not self._root._is_open:
            raise SightlineError(
                "use BatchContext inside its `with` block: with BatchContext(model, x) as context: ..."
            )

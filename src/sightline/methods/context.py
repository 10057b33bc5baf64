"""`BatchContext`: one model on one batch, evaluated lazily and cached, shared by every method and every finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import islice
from types import TracebackType
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from sightline._util.parallel import prefetch
from sightline._util.rng import keyed_rng
from sightline.core import Array
from sightline.errors import SightlineError
from sightline.models import Model
from sightline.models.fast_gradients import LOGIT_TOLERANCE, FastGradientMode
from sightline.models.feature_layer import detach_features, logits_from_features
from sightline.models.map_collapse import record_maps

MIN_GRADIENT_BATCH = 4
"""Images a gradient is computed of at least: a single one takes a processor twice the time of one among two or more."""

TargetOutput = Literal["logit", "probability"]
"""What is explained: the logit of a finding, or its probability (the sigmoid of the logit)."""

Precision = Literal["float32", "bfloat16"]
"""Of the network's arithmetic; what methods are given is float32 always."""

Prior = Tensor | Callable[[tuple[str, ...], tuple[str, ...]], Tensor]
"""Maps known before the model sees an image: (N, T, h, w), or a function of (ids, findings) that gives them."""


class BatchMemoryError(SightlineError):
    """A batch was too large for the memory of the device; the model is as it was."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch gave up for want of memory: a type of its own on accelerators, a sentence on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class BatchContext:
    """One model on one batch, inside a `with` block that leaves the model byte for byte as it was.

    What methods ask for is computed once: `logits`, `probabilities`, `features` and all `feature_gradient`s cost one
    forward together, because the network is cut at its features and gradients run through the head alone. Images do
    not influence each other. Everything is float32 on the device of `x`.

    x: float32 (N, C, side, side) as `Model.prepare` gives it. ids: the radiographs' ids, '' each by default. seed: for
    methods that draw random numbers, always keyed by (seed, id, finding). of: what is explained.
    Errors: `SightlineError` if x or ids do not fit the model, or if something is asked for outside the `with` block;
    `BatchMemoryError` on leaving the block if the batch was too large.
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
            raise SightlineError(f"of={target_output!r}; allowed: 'logit', 'probability'")
        self.model = model
        self.x = x.detach()
        self.ids = ("",) * x.shape[0] if ids is None else tuple(ids)
        if len(self.ids) != x.shape[0]:
            raise SightlineError(f"{len(self.ids)} ids for {x.shape[0]} images; give one per image")
        self.seed = seed
        self.target_output: TargetOutput = target_output
        self.prior = prior
        self.precision: Precision = precision
        self._background = background
        self.diagnostics: dict[str, Tensor] = {}
        """What methods report beside their maps: 'METHOD/QUANTITY' -> (N, T), for the targets asked for last."""
        self.refusals: tuple[Tensor, str] | None = None
        """Maps, bool (N, T), that the method asked last would not answer for, and why; None: it answers for all."""
        self.axiom_violations: tuple[Tensor, str] | None = None
        """Maps, bool (N, T), that break a promise of the method asked last and were wanted all the same, and which."""
        self._root = self  # whose `with` block this pass lives in
        self._stack = ExitStack()
        self._is_open = False
        self._forward_result: tuple[Tensor, Tensor | None] | None = None
        self._recorded_maps: list[Tensor] = []
        self._feature_gradients: dict[int, Tensor] = {}
        self._layer_contexts: dict[str, BatchContext] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self.model.eval_mode())
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        self._forward_result = None
        self._recorded_maps.clear()
        self._feature_gradients.clear()
        self._layer_contexts.clear()
        self._stack.close()
        if error is not None and is_out_of_memory(error):
            raise BatchMemoryError(
                f"{self.model.name} ran out of memory with {len(self.x)} images of {self.model.side} x "
                f"{self.model.side} at once; give fewer (batch={max(1, len(self.x) // 2)}) or a smaller side"
            ) from error

    def with_inputs(self, x: Tensor) -> BatchContext:
        """The same model, ids and options on another batch of as many images, inside the same `with` block."""
        return self._derive(self.model, x, self.ids)

    def select(self, rows: Tensor) -> BatchContext:
        """The images at `rows` int64 (M,) only, inside the same `with` block."""
        return self._derive(self.model, self.x[rows], tuple(self.ids[row] for row in rows.tolist()))

    def with_layer(self, layer: str) -> BatchContext:
        """The same batch with features that are the output of the module `layer`; '' is this pass itself."""
        if not layer:
            return self
        if layer not in self._layer_contexts:
            self._layer_contexts[layer] = self._derive(self.model.with_feature_layer(layer), self.x, self.ids)
            self._layer_contexts[layer].diagnostics = self.diagnostics
        return self._layer_contexts[layer]

    def _derive(self, model: Model, x: Tensor, ids: tuple[str, ...]) -> BatchContext:
        other = BatchContext(
            model,
            x,
            ids=ids,
            seed=self.seed,
            target_output=self.target_output,
            prior=self.prior,
            precision=self.precision,
            background=self._background,
        )
        other._root = self._root
        return other

    @property
    def background(self) -> Tensor:
        """float32 (M, C, side, side): other images, prepared, that stand for what the data look like."""
        if self._background is None or len(self._background) == 0:
            raise SightlineError("baseline=data needs other images; give background=Tensor (M, C, side, side)")
        return self._background

    @property
    def logits(self) -> Tensor:
        """float32 (N, F)."""
        return self._forward()[0].detach()

    @property
    def probabilities(self) -> Tensor:
        """float32 (N, F), sigmoids of the logits."""
        return self.logits.sigmoid()

    @property
    def scores(self) -> Tensor:
        """float32 (N, F): what is explained, logits or probabilities."""
        return self.logits if self.target_output == "logit" else self.probabilities

    @property
    def features(self) -> Tensor:
        """float32 (N, K, h', w'): what enters the pooling, or the output of the module the model names."""
        return self._to_map(self._head_input().detach())

    @property
    def intrinsic_maps(self) -> Tensor | None:
        """float32 (N, F, h, w): the maps that the forward of the logits left at the network's module `shown`.

        None where it left none. A single one, (N, 1, h, w), is that of every finding.
        """
        if not isinstance(getattr(self.model.net, "map_output", None), nn.Module):
            return None
        logits = self._forward()[0]
        if not self._recorded_maps:
            return None
        maps = self._recorded_maps[-1].float()
        return maps.expand(-1, logits.shape[1], -1, -1) if maps.shape[1] == 1 else maps

    def feature_gradient(self, target: int) -> Tensor:
        """float32 (N, K, h', w'): how the score of the finding at `target` changes with each feature."""
        if target not in self._feature_gradients:
            logits, leaf = self._forward()[0], self._head_input()
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), leaf, retain_graph=True)
            self._feature_gradients[target] = self._to_map(gradient)
        return self._to_target_output(self._feature_gradients[target], self.logits[:, target])

    def scores_without(self, channel: int) -> Tensor:
        """float32 (N, F): the scores with one channel of the features set to 0."""
        kept, cut = self._head_input().detach().clone(), self.model.feature_layer
        assert cut is not None  # or there were no leaf
        kept.select(cut.channel_axis, channel).zero_()
        with self._autocast():
            logits = logits_from_features(self.model.net, cut, self._input_batch(), kept).float()
        return logits if self.target_output == "logit" else logits.sigmoid()

    def input_gradient(self, targets: Tensor, rules: AbstractContextManager[object] | None = None) -> Tensor:
        """float32 (N, T, C, side, side): one forward, and one backward to the input per target int64 (T,).

        rules: entered for the forward, for methods that put other gradients in its calls; they may not change what the
        calls compute. Errors: `SightlineError` if the logits are then not the model's own.
        """
        self._check_open()
        # Rules keep more than the network does for a backward: a third of the images at a time fit into one step
        parts = torch.arange(self.x.shape[0], device=self.x.device).chunk(1 if rules is None else 3)
        return torch.cat([self._input_gradient_of_rows(rows, targets, rules) for rows in parts])

    def gradients_at(self, points: Iterable[Tensor], targets: Tensor) -> Iterator[Tensor]:
        """`input_gradient` at each of some batches like this one; several together where the batch is small."""
        waiting, together = iter(points), max(1, MIN_GRADIENT_BATCH // len(self.x))
        while some := list(islice(waiting, together)):
            beside = self._derive(self.model, torch.cat(some), self.ids * len(some))
            yield from beside.input_gradient(targets).chunk(len(some))

    def _input_gradient_of_rows(
        self, rows: Tensor, targets: Tensor, rules: AbstractContextManager[object] | None
    ) -> Tensor:
        """`input_gradient` of the images at `rows` int64 (M,)."""
        swift = rules is None and self.model.supports_fast_gradients
        layout = torch.channels_last if swift else torch.contiguous_format
        x = self._input_batch()[rows].contiguous(memory_format=layout).requires_grad_()
        with self._autocast(), rules or (FastGradientMode() if swift else nullcontext()):
            logits = self.model.net(x).float()  # (M, F)
        if rules is not None:
            self.check_logits(logits, rows)
        out = x.new_empty((x.shape[0], len(targets), *x.shape[1:]))
        for place, target in enumerate(targets.tolist()):
            last = place == len(targets) - 1
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), x, retain_graph=not last)
            out[:, place] = self._to_target_output(gradient, logits[:, target].detach())
        return out

    def check_logits(self, logits: Tensor, rows: Tensor | slice = slice(None)) -> None:
        """Errors: `SightlineError` if logits (M, F) of the images at `rows`, computed another way, are not the model's.

        To 1e-5 of the largest logit, or of 1.
        """
        gap = float((logits.detach() - self.logits[rows]).abs().max())
        if not gap <= LOGIT_TOLERANCE * (1 + float(self.logits.abs().max())):
            raise SightlineError(
                f"under the rules of this method {self.model.name} gives logits that differ by {gap:.2g} from its own: "
                "a call was replaced that does more than its name says; the map would explain another network"
            )

    def standard_normal(self, draw: int) -> Tensor:
        """Standard normal numbers, float32 (N, C, side, side), keyed by (seed, id, draw) of each image."""
        shape = tuple(self.x.shape[1:])
        rows: Array = np.empty((len(self.ids), *shape), np.float32)

        def fill(row: int) -> None:
            keyed_rng(self.seed, self.ids[row], draw).standard_normal(dtype=np.float32, out=rows[row])

        list(prefetch(range(len(rows)), fill, len(rows)))  # in threads: an accelerator would wait for a single one
        return torch.from_numpy(rows).to(self.x.device)

    def _to_target_output(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """Gradient (N, ...) of the logits (N,) -> gradient of what is explained."""
        if self.target_output == "logit":
            return gradient
        slope = logits.sigmoid() * (-logits).sigmoid()  # 1 - sigmoid would lose the digits of a confident model
        return gradient * slope[:, None, None, None]

    def _forward(self) -> tuple[Tensor, Tensor | None]:
        """Logits with the graph of the head, and the root of that graph (None for a model without features)."""
        self._check_open()
        if self._forward_result is None:
            cut = self.model.feature_layer
            if cut is None:
                with torch.no_grad(), self._autocast(), record_maps(self.model.net) as heard:
                    self._forward_result = self.model.net(self._input_batch()).float(), None
            else:
                with (
                    detach_features(self.model.net, cut) as joint,
                    self._autocast(),
                    record_maps(self.model.net) as heard,
                ):
                    logits = self.model.net(
                        self._input_batch()
                    ).float()  # no graph before the cut: nothing requires one
                if joint.tensor is None:
                    raise SightlineError(
                        f"{self.model.name} did not reach {cut.name} as when it was wrapped; wrap it again, or name a "
                        f"module with feature_module='...'"
                    )
                self._forward_result = logits, joint.tensor
            self._recorded_maps = heard
        return self._forward_result

    def _head_input(self) -> Tensor:
        leaf = self._forward()[1]
        if leaf is None:
            raise SightlineError(
                f"{self.model.name} has no features: no call of its forward pools a map to one cell. Wrap it with "
                f"features='path.of.module' (for a transformer the last block's first norm, 'blocks.11.norm1')"
            )
        return leaf

    def _to_map(self, raw: Tensor) -> Tensor:
        cut = self.model.feature_layer
        return raw.float() if cut is None else cut.as_map(raw).float()

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _input_batch(self) -> Tensor:
        """The batch in the layout that suits the arithmetic: bfloat16 kernels want channels last."""
        return self.x if self.precision == "float32" else self.x.contiguous(memory_format=torch.channels_last)

    def _check_open(self) -> None:
        if not self._root._is_open:
            raise SightlineError("a Pass computes inside its `with` block only: with Pass(model, x) as p: ...")

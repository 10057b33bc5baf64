"""`Pass`: one model on one batch, evaluated lazily and cached, shared by every method and every finding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import islice
from types import TracebackType
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from sightline._util.parallel import early
from sightline._util.rng import keyed_rng
from sightline.core import Array
from sightline.errors import SightlineError
from sightline.models import Model
from sightline.models.fast_gradients import SAME_LOGITS, Swift
from sightline.models.feature_layer import logits_of, severed
from sightline.models.map_collapse import listening

TOGETHER = 4
"""Images a gradient is computed of at least: a single one takes a processor twice the time of one among two or more."""

Of = Literal["logit", "probability"]
"""What is explained: the logit of a finding, or its probability (the sigmoid of the logit)."""

Precision = Literal["float32", "bfloat16"]
"""Of the network's arithmetic; what methods are given is float32 always."""

Prior = Tensor | Callable[[tuple[str, ...], tuple[str, ...]], Tensor]
"""Maps known before the model sees an image: (N, T, h, w), or a function of (ids, findings) that gives them."""


class NoMemoryError(SightlineError):
    """A batch was too large for the memory of the device; the model is as it was."""


def says_memory(error: BaseException) -> bool:
    """Whether torch gave up for want of memory: a type of its own on accelerators, a sentence on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class Pass:
    """One model on one batch, inside a `with` block that leaves the model byte for byte as it was.

    What methods ask for is computed once: `logits`, `probabilities`, `features` and all `feature_gradient`s cost one
    forward together, because the network is cut at its features and gradients run through the head alone. Images do
    not influence each other. Everything is float32 on the device of `x`.

    x: float32 (N, C, side, side) as `Model.prepare` gives it. ids: the radiographs' ids, '' each by default. seed: for
    methods that draw random numbers, always keyed by (seed, id, finding). of: what is explained.
    Errors: `SightlineError` if x or ids do not fit the model, or if something is asked for outside the `with` block;
    `NoMemoryError` on leaving the block if the batch was too large.
    """

    def __init__(
        self,
        model: Model,
        x: Tensor,
        *,
        ids: Sequence[str] | None = None,
        seed: int = 0,
        of: Of = "logit",
        prior: Prior | None = None,
        precision: Precision = "float32",
        background: Tensor | None = None,
    ) -> None:
        shape = (model.channels, model.side, model.side)
        if x.dim() != 4 or tuple(x.shape[1:]) != shape or x.dtype != torch.float32:
            raise SightlineError(
                f"{model.name} takes float32 (N, {', '.join(map(str, shape))}), not {x.dtype} {tuple(x.shape)}"
            )
        if of not in ("logit", "probability"):
            raise SightlineError(f"of={of!r}; allowed: 'logit', 'probability'")
        self.model = model
        self.x = x.detach()
        self.ids = ("",) * x.shape[0] if ids is None else tuple(ids)
        if len(self.ids) != x.shape[0]:
            raise SightlineError(f"{len(self.ids)} ids for {x.shape[0]} images; give one per image")
        self.seed = seed
        self.of: Of = of
        self.prior = prior
        self.precision: Precision = precision
        self._background = background
        self.notes: dict[str, Tensor] = {}
        """What methods report beside their maps: 'METHOD/QUANTITY' -> (N, T), for the targets asked for last."""
        self.refused: tuple[Tensor, str] | None = None
        """Maps, bool (N, T), that the method asked last would not answer for, and why; None: it answers for all."""
        self.doubted: tuple[Tensor, str] | None = None
        """Maps, bool (N, T), that break a promise of the method asked last and were wanted all the same, and which."""
        self._root = self  # whose `with` block this pass lives in
        self._stack = ExitStack()
        self._open = False
        self._joint: tuple[Tensor, Tensor | None] | None = None
        self._shown: list[Tensor] = []
        self._gradients: dict[int, Tensor] = {}
        self._layers: dict[str, Pass] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self.model.borrowed())
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._joint = None
        self._shown.clear()
        self._gradients.clear()
        self._layers.clear()
        self._stack.close()
        if error is not None and says_memory(error):
            raise NoMemoryError(
                f"{self.model.name} ran out of memory with {len(self.x)} images of {self.model.side} x "
                f"{self.model.side} at once; give fewer (batch={max(1, len(self.x) // 2)}) or a smaller side"
            ) from error

    def at(self, x: Tensor) -> Pass:
        """The same model, ids and options on another batch of as many images, inside the same `with` block."""
        return self._beside(self.model, x, self.ids)

    def take(self, rows: Tensor) -> Pass:
        """The images at `rows` int64 (M,) only, inside the same `with` block."""
        return self._beside(self.model, self.x[rows], tuple(self.ids[row] for row in rows.tolist()))

    def taken_at(self, layer: str) -> Pass:
        """The same batch with features that are the output of the module `layer`; '' is this pass itself."""
        if not layer:
            return self
        if layer not in self._layers:
            self._layers[layer] = self._beside(self.model.cut_at(layer), self.x, self.ids)
            self._layers[layer].notes = self.notes
        return self._layers[layer]

    def _beside(self, model: Model, x: Tensor, ids: tuple[str, ...]) -> Pass:
        other = Pass(model, x, ids=ids, seed=self.seed, of=self.of, prior=self.prior, precision=self.precision,
                     background=self._background)  # fmt: skip
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
        return self.logits if self.of == "logit" else self.probabilities

    @property
    def features(self) -> Tensor:
        """float32 (N, K, h', w'): what enters the pooling, or the output of the module the model names."""
        return self._map(self._leaf().detach())

    @property
    def shown(self) -> Tensor | None:
        """float32 (N, F, h, w): the maps that the forward of the logits left at the network's module `shown`.

        None where it left none. A single one, (N, 1, h, w), is that of every finding.
        """
        if not isinstance(getattr(self.model.net, "shown", None), nn.Module):
            return None
        logits = self._forward()[0]
        if not self._shown:
            return None
        maps = self._shown[-1].float()
        return maps.expand(-1, logits.shape[1], -1, -1) if maps.shape[1] == 1 else maps

    def feature_gradient(self, target: int) -> Tensor:
        """float32 (N, K, h', w'): how the score of the finding at `target` changes with each feature."""
        if target not in self._gradients:
            logits, leaf = self._forward()[0], self._leaf()
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), leaf, retain_graph=True)
            self._gradients[target] = self._map(gradient)
        return self._scaled(self._gradients[target], self.logits[:, target])

    def scores_without(self, channel: int) -> Tensor:
        """float32 (N, F): the scores with one channel of the features set to 0."""
        kept, cut = self._leaf().detach().clone(), self.model.cut
        assert cut is not None  # or there were no leaf
        kept.select(cut.channel_axis, channel).zero_()
        with self._arithmetic():
            logits = logits_of(self.model.net, cut, self._input(), kept).float()
        return logits if self.of == "logit" else logits.sigmoid()

    def input_gradient(self, targets: Tensor, rules: AbstractContextManager[object] | None = None) -> Tensor:
        """float32 (N, T, C, side, side): one forward, and one backward to the input per target int64 (T,).

        rules: entered for the forward, for methods that put other gradients in its calls; they may not change what the
        calls compute. Errors: `SightlineError` if the logits are then not the model's own.
        """
        self._check_open()
        # Rules keep more than the network does for a backward: a third of the images at a time fit into one step
        parts = torch.arange(self.x.shape[0], device=self.x.device).chunk(1 if rules is None else 3)
        return torch.cat([self._gradient_of(rows, targets, rules) for rows in parts])

    def gradients_at(self, points: Iterable[Tensor], targets: Tensor) -> Iterator[Tensor]:
        """`input_gradient` at each of some batches like this one; several together where the batch is small."""
        waiting, together = iter(points), max(1, TOGETHER // len(self.x))
        while some := list(islice(waiting, together)):
            beside = self._beside(self.model, torch.cat(some), self.ids * len(some))
            yield from beside.input_gradient(targets).chunk(len(some))

    def _gradient_of(self, rows: Tensor, targets: Tensor, rules: AbstractContextManager[object] | None) -> Tensor:
        """`input_gradient` of the images at `rows` int64 (M,)."""
        swift = rules is None and self.model.is_swift
        layout = torch.channels_last if swift else torch.contiguous_format
        x = self._input()[rows].contiguous(memory_format=layout).requires_grad_()
        with self._arithmetic(), rules or (Swift() if swift else nullcontext()):
            logits = self.model.net(x).float()  # (M, F)
        if rules is not None:
            self.check_logits(logits, rows)
        out = x.new_empty((x.shape[0], len(targets), *x.shape[1:]))
        for place, target in enumerate(targets.tolist()):
            last = place == len(targets) - 1
            (gradient,) = torch.autograd.grad(logits[:, target].sum(), x, retain_graph=not last)
            out[:, place] = self._scaled(gradient, logits[:, target].detach())
        return out

    def check_logits(self, logits: Tensor, rows: Tensor | slice = slice(None)) -> None:
        """Errors: `SightlineError` if logits (M, F) of the images at `rows`, computed another way, are not the model's.

        To 1e-5 of the largest logit, or of 1.
        """
        gap = float((logits.detach() - self.logits[rows]).abs().max())
        if not gap <= SAME_LOGITS * (1 + float(self.logits.abs().max())):
            raise SightlineError(
                f"under the rules of this method {self.model.name} gives logits that differ by {gap:.2g} from its own: "
                "a call was replaced that does more than its name says; the map would explain another network"
            )

    def normal(self, draw: int) -> Tensor:
        """Standard normal numbers, float32 (N, C, side, side), keyed by (seed, id, draw) of each image."""
        shape = tuple(self.x.shape[1:])
        rows: Array = np.empty((len(self.ids), *shape), np.float32)

        def fill(row: int) -> None:
            keyed_rng(self.seed, self.ids[row], draw).standard_normal(dtype=np.float32, out=rows[row])

        list(early(range(len(rows)), fill, len(rows)))  # in threads: an accelerator would wait for a single one
        return torch.from_numpy(rows).to(self.x.device)

    def _scaled(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """Gradient (N, ...) of the logits (N,) -> gradient of what is explained."""
        if self.of == "logit":
            return gradient
        slope = logits.sigmoid() * (-logits).sigmoid()  # 1 - sigmoid would lose the digits of a confident model
        return gradient * slope[:, None, None, None]

    def _forward(self) -> tuple[Tensor, Tensor | None]:
        """Logits with the graph of the head, and the root of that graph (None for a model without features)."""
        self._check_open()
        if self._joint is None:
            cut = self.model.cut
            if cut is None:
                with torch.no_grad(), self._arithmetic(), listening(self.model.net) as heard:
                    self._joint = self.model.net(self._input()).float(), None
            else:
                with severed(self.model.net, cut) as joint, self._arithmetic(), listening(self.model.net) as heard:
                    logits = self.model.net(self._input()).float()  # no graph before the cut: nothing requires one
                if joint.leaf is None:
                    raise SightlineError(
                        f"{self.model.name} did not reach {cut.where} as when it was wrapped; wrap it again, or name a "
                        f"module with features='...'"
                    )
                self._joint = logits, joint.leaf
            self._shown = heard
        return self._joint

    def _leaf(self) -> Tensor:
        leaf = self._forward()[1]
        if leaf is None:
            raise SightlineError(
                f"{self.model.name} has no features: no call of its forward pools a map to one cell. Wrap it with "
                f"features='path.of.module' (for a transformer the last block's first norm, 'blocks.11.norm1')"
            )
        return leaf

    def _map(self, raw: Tensor) -> Tensor:
        cut = self.model.cut
        return raw.float() if cut is None else cut.as_map(raw).float()

    def _arithmetic(self) -> AbstractContextManager[object]:
        return torch.autocast(self.x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _input(self) -> Tensor:
        """The batch in the layout that suits the arithmetic: bfloat16 kernels want channels last."""
        return self.x if self.precision == "float32" else self.x.contiguous(memory_format=torch.channels_last)

    def _check_open(self) -> None:
        if not self._root._open:
            raise SightlineError("a Pass computes inside its `with` block only: with Pass(model, x) as p: ...")

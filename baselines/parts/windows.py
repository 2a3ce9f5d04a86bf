"""A window that moves over texts longer than it: what a network of fewer positions sees of a canvas."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.parts.conditioning import Canvas, Layout
from baselines.parts.denoisers import Denoiser, Told, select
from baselines.parts.estimates import Estimate
from harness.tokenizer import BOS, EOS, PAD


class Windows:
    """A layout whose canvases are longer than what a network sees of them: source, EOS, PAD, BOS, target, EOS, PAD.

    The source, where there is one, is always seen; of BOS and what stands behind it a window of neighbouring positions is. BOS
    tells the first window from the others.

    Args:
        layout: source and target, or the target alone, on one canvas.
        target: positions of the target L.
        size: positions of a window W, at most L + 1.

    Attributes:
        length: positions that a network sees: those of the source and a window.
        start: the first position that is no source's.
    """

    def __init__(self, layout: Layout, *, target: int, size: int) -> None:
        self.layout, self.size = layout, size
        self.start, self.text = layout.length - target, target + 1
        self.length = self.start + size

    def canvas(self, conditions: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None) -> Canvas:
        """Whole canvases; BOS is not given."""
        whole = self.layout.canvas(conditions, targets)
        start = torch.full((len(whole.ids), 1), BOS)
        ids, given = (
            torch.cat([values[:, : self.start], between, values[:, self.start :]], 1)
            for values, between in ((whole.ids, start), (whole.given, torch.zeros_like(start).bool()))
        )
        return replace(whole, ids=ids, given=given)

    def targets(self, canvas: Canvas) -> list[list[int]]:
        """What stands behind each BOS."""
        return canvas.ids[:, self.start + 1 :].tolist()

    def stretches(self, stride: int) -> list[tuple[int, int]]:
        """See `stretches`, for whole texts behind BOS."""
        return stretches(self.text, self.size, stride)

    def seen(self, canvas: Canvas, first: int | Int[Tensor, " B"]) -> Canvas:
        """What a network sees of whole canvases.

        Args:
            first: where the window begins, counted from BOS; one for all rows or one each.
        """
        begins = torch.as_tensor(first, device=canvas.ids.device).expand(len(canvas.ids))
        window = begins[:, None] + torch.arange(self.size, device=canvas.ids.device) + self.start
        source = torch.arange(self.start, device=canvas.ids.device).expand(len(canvas.ids), -1)
        places = torch.cat([source, window], 1)
        return replace(canvas, ids=canvas.ids.gather(1, places), given=canvas.given.gather(1, places))

    def to_write(self, canvas: Canvas, first: int, known: int, *, ends: bool = True) -> Canvas:
        """A window with everything given that stands before what it writes.

        Args:
            first: where it begins, counted from BOS.
            known: up to where texts are known, counted from BOS.
            ends: whether nothing is written in rows whose EOS is known.
        """
        seen = self.seen(canvas, first)
        before = torch.arange(self.length, device=canvas.ids.device) < self.start + known - first
        given = seen.given | before
        if ends:
            given = given | (canvas.ids[:, self.start : self.start + known] == EOS).any(-1)[:, None]
        return replace(seen, given=given)

    def put(self, canvas: Canvas, first: int, written: Int[Tensor, "B W"]) -> Canvas:
        """Whole canvases with a written window in its place."""
        ids = canvas.ids.clone()
        ids[:, self.start + first : self.start + first + self.size] = written[:, self.start :]
        return replace(canvas, ids=ids)

    def begins(self, canvas: Canvas, share: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
        """Where a training window begins: of texts longer than one, half at BOS and half anywhere up to EOS; else at BOS.

        Args:
            share: draws in [0, 1).
        """
        tokens = (canvas.ids[:, self.start :] != PAD).sum(-1)
        last = (tokens - 1).clamp(max=self.text - self.size)
        anywhere = (tokens > self.size) & (share >= 0.5)
        return torch.where(anywhere, 1 + ((2 * share - 1) * last).long(), 0).clamp(max=self.text - self.size)


def stretches(text: int, size: int, stride: int) -> list[tuple[int, int]]:
    """The windows that write a whole text: where each begins, counted from BOS, and up to where the text is known before it.

    The last one moves by less than the stride where that would lead beyond the canvas.

    Args:
        text: positions of BOS and what stands behind it.
        size: positions of a window.
        stride: positions that each window but the first writes.
    """
    found = [(0, 1)]
    while (end := found[-1][0] + size) < text:
        found.append((min(end + stride, text) - size, end))
    return found


class OfSource:
    """A denoiser that takes nothing but the source for given: what was written before a window is no condition.

    Args:
        denoiser: what is wrapped.
        start: the first position that is no source's.
    """

    def __init__(self, denoiser: Denoiser, start: int) -> None:
        self.denoiser, self.start = denoiser, start

    def __call__(self, x_t: Tensor, time: Told, given: Tensor, previous: Estimate | None) -> Estimate:
        """Estimate x0."""
        of_source = torch.arange(given.shape[1], device=given.device) < self.start
        return self.denoiser(x_t, time, given & of_source, previous)

    def select(self, rows: Int[Tensor, " C"]) -> "OfSource":
        """For some rows."""
        return OfSource(select(self.denoiser, rows), self.start)

"""Masked diffusion that sees a window of its text: the semi-autoregressive extension.

Sahoo et al. 2024 (MDLM, arXiv:2406.07524), section 4.2. A network of W positions writes a window; then the window moves on by a
stride, what it shows of the text before is kept as a prefix, and the rest of it is written.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.adapter import canvas_of
from baselines.masked import MaskedAdapter
from baselines.parts.blocks import spread
from baselines.parts.calls import Calls
from baselines.parts.conditioning import Canvas, Layout
from baselines.parts.randomness import Noise
from baselines.parts.windows import OfSource, Windows, stretches
from baselines.training import Data, Draws
from harness.contracts import Sampling, TaskView
from harness.design import Design


class WindowedAdapter(MaskedAdapter):
    """A `MaskedAdapter` with the keys `window`, positions that the network sees, and `stride`, by which the window moves.

    `window: null` is the whole text at once. Else training takes one window of each text at a time; sampling writes window after
    window, each with an equal share of the steps, until a text has ended; and the bound is the sum of those of what each window
    writes, given the text before it, so that it bounds the law that is sampled.
    """

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """See `MaskedAdapter`.

        Raises:
            ValueError: a window of less than two positions, or a stride that leaves nothing of the text before, too.
        """
        keys = super().checked(size)
        window, stride = keys.get("window"), keys.get("stride")
        if window is not None and not (type(window) is int and window >= 2):
            raise ValueError(f"window {window!r}, expected null (the whole text) or a whole number from 2 on")
        if stride is not None and not (type(stride) is int and window is not None and 1 <= stride < window):
            raise ValueError(f"stride {stride!r}, expected null (half the window) or a whole number from 1 to below `window`")
        return keys

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """See `MaskedAdapter`; windows are written one after the other."""
        design, window = super().design_for(**size), cls.checked(size).get("window")
        if window is None:
            return design
        return replace(design, unmasking=f"{design.unmasking}, in windows of {window}", length="the window that holds EOS")

    @classmethod
    def least_steps(cls, max_tokens: int, **size: Any) -> int:
        """One for each window."""
        keys = cls.checked(size)
        window = keys.get("window")
        return 1 if window is None else len(stretches(max_tokens + 1, window, stride_of(keys)))

    @classmethod
    def layout_for(cls, task: TaskView, **size: Any) -> Layout:
        """See `DiffusionAdapter`; the whole text where it fits the window."""
        layout, window = cls.make_layout(task), cls.checked(size).get("window")
        if window is None or window > task.max_tokens:
            return layout
        return Windows(layout, target=task.max_tokens, size=window)

    @property
    def windows(self) -> Windows | None:
        """The layout, where it has windows."""
        return self.layout if isinstance(self.layout, Windows) else None

    def stretches(self, windows: Windows) -> list[tuple[int, int]]:
        """See `Windows.stretches`."""
        return windows.stretches(stride_of(self.keys))

    def _loss(self, batch: Data, draws: Draws) -> Tensor:
        canvas, windows = canvas_of(batch), self.windows
        if windows is not None:
            canvas = windows.seen(canvas, windows.begins(canvas, draws.uniform("window")))
        return self.diffusion.loss(canvas, draws)

    def write(self, prompt: Canvas, noise: Noise, steps: int, settings: Sampling, calls: Calls) -> Int[Tensor, "B L"]:
        """See `DiffusionAdapter`.

        Raises:
            ModelError: fewer steps than windows.
        """
        windows, canvas = self.windows, prompt
        if windows is None:
            return super().write(prompt, noise, steps, settings, calls)
        stretches = self.stretches(windows)
        for number, ((first, known), count) in enumerate(zip(stretches, spread(steps, len(stretches)), strict=True)):
            part = windows.to_write(canvas, first, known, ends=not settings.fixed_length)
            denoiser = OfSource(self.denoiser_for(part, settings), windows.start)
            grid, undo = self.diffusion.clock.grid(count), self.reverse_for(count)
            canvas = windows.put(canvas, first, self.diffusion.sample(part, noise.split(number), grid, denoiser, undo, calls))
        return canvas.ids

    def bounds(self, canvas: Canvas, stream: tuple[int, ...]) -> Float[Tensor, "B K"]:
        """See `DiscreteAdapter`."""
        windows = self.windows
        if windows is None:
            return super().bounds(canvas, stream)
        parts = [windows.to_write(canvas, first, known) for first, known in self.stretches(windows)]
        begun = [(number, part) for number, part in enumerate(parts) if not bool(part.given.all())]
        return torch.stack([super(WindowedAdapter, self).bounds(part, (*stream, number)) for number, part in begun]).sum(0)


def stride_of(keys: Mapping[str, Any]) -> int:
    """Positions by which a window moves: half of it, where nothing is said."""
    return int(keys["stride"] or keys["window"] // 2)

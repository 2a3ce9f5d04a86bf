"""Diffusion inside blocks that are written one after the other, each behind the clean ones before it."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.engine import Diffusion
from baselines.networks.block_denoiser import BlockDenoiser
from baselines.networks.kv_cache import KVCache
from baselines.parts.blocks import turns
from baselines.parts.calls import Calls, among
from baselines.parts.categorical import Absorbing, normalised
from baselines.parts.clocks import Grid
from baselines.parts.conditioning import Canvas
from baselines.parts.denoisers import Denoiser
from baselines.parts.estimates import Changed, Estimate, Readout
from baselines.parts.randomness import Noise
from baselines.parts.samplers_discrete import with_tokens_at
from harness.tokenizer import EOS, PAD

Change = Callable[[Float[Tensor, "*batch V"]], Float[Tensor, "*batch V"]]
"""From log-probabilities of tokens to others."""


class BlockDiffusion(Diffusion):
    """A masked diffusion whose network sees, of every block, the clean blocks before it; its loss comes from one pass over both.

    Such a model is not sampled as a whole: `fill` takes the place of `sample`.
    """

    @property
    def network(self) -> BlockDenoiser:
        """The denoiser."""
        assert isinstance(self.denoiser, BlockDenoiser)
        return self.denoiser

    @property
    def mask(self) -> int:
        """Id of the mask."""
        assert isinstance(self.kernel, Absorbing)
        return self.kernel.mask

    def reading(self, canvas: Canvas) -> Denoiser:
        """The denoiser of noisy states of this canvas, whose clean blocks it sees."""
        return partial(self._beside, canvas)

    def _beside(self, canvas: Canvas, x_t: Tensor, time: Tensor, given: Tensor, previous: Estimate | None) -> Readout:
        return self._read(self.network.beside_clean(x_t, canvas.ids, canvas.source))

    def _read(self, hidden: Float[Tensor, "B L D"]) -> Readout:
        return Readout(hidden, self.network.logits, normalised)

    def _shares(self, grid: Grid) -> Float[Tensor, " M"]:
        """Of the masks of t = 1, what the schedule leaves at the times of a grid between its ends."""
        masked = 1 - self.schedule.alpha_bar(grid[None])[0]
        return masked[1:-1] / masked[0]

    @torch.no_grad()
    def fill(
        self, prompt: Canvas, noise: Noise, grids: Sequence[Float[Tensor, "_"]] | None, *, change: Change, ends: bool,
        calls: Calls,
    ) -> Int[Tensor, "B L"]:  # fmt: skip
        """Write block after block, with the keys and values of what is written kept.

        Before a block is begun, what stands before it goes through the network: the prefix, then each finished block. Then it
        goes through once for every turn in which some of its masks are revealed. A row that takes r_b turns for block b and
        ends with block n costs n + r_1 + ... + r_n calls, which see P + (n - 1) B + B (r_1 + ... + r_n) positions, with P
        positions of prefix and B of a block.

        Args:
            prompt: nothing on it is given; its source is read.
            noise: one stream per request.
            grids: for each block, the times to stand at, from 1 down to 0; `None` = masks are revealed one by one.
            change: what is done to estimates before tokens are drawn.
            ends: whether a row is finished with its first EOS; the rest of its canvas is padding.
            calls: where network calls are counted by row.
        """
        size, device = self.network.block, prompt.ids.device
        ids = torch.full_like(prompt.ids, PAD)
        rows = going = torch.arange(len(ids), device=device)
        before = self.network.prefix(prompt.source, len(ids)).ids
        past = self.network.past(prompt.source, len(ids), length=ids.shape[1])
        for number in range(ids.shape[1] // size):
            draws = noise.select(rows).uniform(number, size, 3)
            turn = turns(draws[..., :2], None if grids is None else self._shares(grids[number].to(device)))
            order = turn.amax(-1).argsort(descending=True, stable=True)  # rows that are done first stand last
            rows, before, draws, turn = rows[order], before[order], draws[order], turn[order]
            _arrange(past, going[order])
            with among(calls, rows):
                self.network(before, past)
            past.length += before.shape[1]
            block = torch.full_like(turn, self.mask)
            for now in range(int(turn.max()) + 1):
                some = rows[: int((turn.amax(-1) >= now).sum())]
                with among(calls, some):
                    estimate = self._read(self.network(block[: len(some)], past))
                chosen = turn[: len(some)] == now
                block[: len(some)] = with_tokens_at(
                    block[: len(some)], chosen, Changed(estimate, change), draws[: len(some), :, 1:]
                )
            ids[rows, number * size : (number + 1) * size] = block
            going = (~((block == EOS).any(-1) & ends)).nonzero()[:, 0]
            if len(going) == 0:
                break
            rows, before = rows[going], block[going]
        return ids


def _arrange(past: KVCache, rows: Int[Tensor, " C"]) -> None:
    """Keep these rows of a past, in this order; nothing is copied where they are all of it."""
    if rows.tolist() != list(range(past.rows)):
        past.select(rows)

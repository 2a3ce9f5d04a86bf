"""Writing token by token: greedy and sampling loops over a batch whose finished rows leave."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.networks.incremental import Run
from baselines.parts.randomness import Noise, categorical
from harness.tokenizer import EOS, PAD

Choose = Callable[[Float[Tensor, "B V"], Int[Tensor, " B"], int], Int[Tensor, " B"]]
LEAST_GONE = 0.25  # share of finished rows at which copying the cache of the others costs less than dragging them along
CHECK_EVERY = {"cpu": 1, "cuda": 8}  # steps between looks at what is finished; a look waits for the device


class Writer:
    """A batch of sequences that grows by one token per call.

    Args:
        run: the network's state after the prefixes.
        embedding: "V D", what tokens are read as.
        head: "D V", contiguous; final hidden state to logits.
        forbidden: tokens that are never written: EOS, where a text must have a fixed length.

    Attributes:
        logits: of the first token to be written.
    """

    def __init__(
        self, run: Run, embedding: Float[Tensor, "V D"], head: Float[Tensor, "D V"], *, forbidden: tuple[int, ...] = ()
    ) -> None:
        self.run, self.embedding, self.head, self.forbidden = run, embedding, head, forbidden
        self.logits = self._logits(run.last)

    @property
    def rows(self) -> int:
        """Sequences B."""
        return self.run.cache.rows

    def advance(self, tokens: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Append one token to every sequence; logits of the next."""
        return self._logits(self.run.step(self.embedding.index_select(0, tokens)))

    def _logits(self, hidden: Float[Tensor, "B D"]) -> Float[Tensor, "B V"]:
        logits = hidden @ self.head
        for token in self.forbidden:
            logits[:, token] = float("-inf")
        return logits

    def select(self, rows: Int[Tensor, " C"]) -> None:
        """Keep, reorder or repeat sequences."""
        self.run.select(rows)


def greedy(logits: Float[Tensor, "B V"], rows: Int[Tensor, " B"], step: int) -> Int[Tensor, " B"]:
    """The most probable token."""
    return logits.argmax(-1)


class Draw:
    """Draws tokens: one uniform number per request and position, by inversion of the cumulative distribution.

    Args:
        noise: of the requests, in the order of the batch at its start.
        length: longest text.
        temperature: divides logits, positive.
        top_p: share of the probability that is kept, in (0, 1].
    """

    def __init__(self, noise: Noise, length: int, *, temperature: float = 1.0, top_p: float = 1.0) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature {temperature}, expected a positive number; the limit 0 is `method: greedy`")
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p {top_p}, expected a number in (0, 1]; 1 keeps everything")
        self.uniforms = noise.uniform(0, length).t().contiguous()
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, logits: Float[Tensor, "B V"], rows: Int[Tensor, " B"], step: int) -> Int[Tensor, " B"]:
        """Draw the token of position `step` for the requests `rows`."""
        probabilities = torch.softmax(logits.double() / self.temperature, dim=-1)
        if self.top_p < 1:
            probabilities = nucleus(probabilities, self.top_p)
        return categorical(probabilities, self.uniforms[step].index_select(0, rows))


def nucleus(probabilities: Float[Tensor, "B V"], top_p: float) -> Float[Tensor, "B V"]:
    """The smallest set of tokens with at least `top_p` of the probability; the others become 0, nothing is renormalised.

    Holtzman et al. 2020 (arXiv:1904.09751), section 3.1.
    """
    ordered, order = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probabilities).scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))


@torch.inference_mode()
def write(writer: Writer, choose: Choose, *, limits: list[int]) -> list[list[int]]:
    """Write texts until each has its EOS or its limit.

    Args:
        writer: the sequences after their prefixes.
        choose: (logits, rows, step) -> tokens, where `rows` counts the sequences in the order of the start.
        limits: most tokens of each text, EOS included, at least 1.

    Returns:
        ids of each text, up to and including EOS.
    """
    device = writer.logits.device
    rows = torch.arange(writer.rows, device=device)
    most, ends = torch.tensor(limits, device=device), set(limits)
    texts = torch.full((len(limits), max(limits)), PAD, dtype=torch.int64, device=device)
    columns = texts.new_full((max(limits), len(limits)), PAD)
    done = torch.zeros_like(rows, dtype=torch.bool)
    every = CHECK_EVERY.get(device.type, 1)
    logits = writer.logits
    for step in range(max(limits)):
        tokens = choose(logits, rows, step)
        columns[step].copy_(tokens)
        if step + 1 == max(limits):
            break
        done |= tokens == EOS
        if step + 1 in ends:
            done |= most.index_select(0, rows) <= step + 1
        if (step + 1) % every == 0:
            gone = int(done.sum())
            if gone == len(rows):
                break
            if gone >= LEAST_GONE * len(rows):
                texts[rows] = columns.t()
                going = (~done).nonzero().squeeze(-1)
                rows, tokens, done = rows[going], tokens[going], done[going]
                columns = columns[:, going].contiguous()
                writer.select(going)
        logits = writer.advance(tokens)
    texts[rows] = columns.t()
    return [cut(ids, limit) for ids, limit in zip(texts.tolist(), limits, strict=True)]


def cut(ids: list[int], limit: int) -> list[int]:
    """Ids up to and including the first EOS, at most `limit` of them."""
    ids = ids[:limit]
    return ids[: ids.index(EOS) + 1] if EOS in ids else ids

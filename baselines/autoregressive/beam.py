"""Beam search."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from baselines.autoregressive.decoding import Writer
from harness.tokenizer import EOS


@dataclass(slots=True)
class Search:
    """The search of one request.

    Attributes:
        limit: most tokens, EOS included.
        running: token ids of the unfinished texts, best first.
        ended: (mean log-probability per token, ids) of finished texts.
        steps: tokens that were written, so network calls.
    """

    limit: int
    running: list[list[int]] = field(default_factory=list)
    ended: list[tuple[float, list[int]]] = field(default_factory=list)
    steps: int = 0

    def best(self) -> list[list[int]]:
        """Finished texts, the best first."""
        return [ids for _, ids in sorted(self.ended, key=lambda item: item[0], reverse=True)]


@torch.inference_mode()
def beam_search(writer: Writer, *, beams: int, limits: list[int]) -> list[Search]:
    """Search for probable texts; one beam is greedy decoding.

    At every step a request's best `beams` continuations are looked at: those that end are put aside, and the best `beams`
    that do not end go on. A request is done when `beams` texts have ended, or at its limit, where the running texts count as
    ended. Ended texts are ranked by mean log-probability per token.

    Args:
        writer: one sequence per request, after its prefix.
        beams: width of the search.
        limits: most tokens of each request's texts.

    Raises:
        ValueError: fewer than one beam.
    """
    if beams < 1:
        raise ValueError(f"beam search with {beams} beams, expected at least 1")
    searches = [Search(limit, [[] for _ in range(beams)]) for limit in limits]
    active = list(range(len(searches)))
    logits = writer.logits.repeat_interleave(beams, 0)
    writer.select(torch.arange(writer.rows, device=logits.device).repeat_interleave(beams))
    scores = logits.new_full((len(searches), beams), float("-inf"), dtype=torch.float64)
    scores[:, 0] = 0.0
    while True:
        found, places = continuations(logits, scores)
        kept = [
            _advance(searches[index], row, place, logits.shape[-1])
            for index, row, place in zip(active, found.tolist(), places.tolist(), strict=True)
        ]
        going = [place for place, index in enumerate(active) if not _is_done(searches[index], beams)]
        if not going:
            return searches
        parents = torch.tensor([place * beams + parent for place in going for parent, _, _ in kept[place]], device=logits.device)
        tokens = torch.tensor([token for place in going for _, token, _ in kept[place]], device=logits.device)
        scores = scores.new_tensor([[score for _, _, score in kept[place]] for place in going])
        active = [active[place] for place in going]
        writer.select(parents)
        logits = writer.advance(tokens)


def continuations(logits: Float[Tensor, "RK V"], scores: Float[Tensor, "R K"]) -> tuple[Float[Tensor, "R C"], Int[Tensor, "R C"]]:
    """The 2 K best continuations of each request: total log-probabilities (float64) and places beam * V + token."""
    requests, beams = scores.shape
    total = torch.log_softmax(logits.double(), dim=-1).view(requests, beams, -1) + scores[..., None]
    return total.flatten(1).topk(min(2 * beams, total[0].numel()), dim=-1)


def _advance(search: Search, found: list[float], places: list[int], vocabulary: int) -> list[tuple[int, int, float]]:
    """Put ended texts aside and extend the running ones; returns (beam, token, score) of the latter."""
    beams = len(search.running)
    search.steps += 1
    kept: list[tuple[int, int, float]] = []
    for rank, (score, place) in enumerate(zip(found, places, strict=True)):
        parent, token = divmod(place, vocabulary)
        if token != EOS:
            kept.append((parent, token, score))
        elif rank < beams and score > float("-inf"):
            search.ended.append((score / search.steps, [*search.running[parent], EOS]))
    kept = kept[:beams]
    search.running = [[*search.running[parent], token] for parent, token, _ in kept]
    if search.steps == search.limit and len(search.ended) < beams:
        unfinished = zip(search.running, kept, strict=True)
        search.ended += [(score / search.steps, ids) for ids, (_, _, score) in unfinished if score > float("-inf")]
    return kept


def _is_done(search: Search, beams: int) -> bool:
    return len(search.ended) >= beams or search.steps >= search.limit

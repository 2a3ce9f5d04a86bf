"""Who is timed, how it is asked, and what of its answers counts as written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.contracts import Generation, Sampling, TextModel
from harness.tokenizer import EOS, PAD

ALIKE = 0.1  # of parameters and of positions seen in training: within this share two systems match


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A loaded model and how it is asked.

    Attributes:
        name: as labelled in the row.
        model: the adapter.
        settings: decoding; `micro_batch` is set so that a timed batch goes through the network together.
        parameters: trainable parameters; `None` where not known.
        trained_tokens: positions seen in training; `None` where not known.
        data: key of the data and the tokenizer it learnt from.
    """

    name: str
    model: TextModel
    settings: Sampling
    parameters: int | None = None
    trained_tokens: int | None = None
    data: str = ""

    @property
    def decoding(self) -> str:
        """How it decodes, in short."""
        if self.settings.method == "sample":
            return f"sample t{self.settings.temperature:g} p{self.settings.top_p:g}"
        return f"beam {self.settings.beams}" if self.settings.method == "beam" else self.settings.method

    @property
    def dtype(self) -> str:
        """Number format of the model's parameters; torch's default where it is no torch module."""
        import torch

        first = next(self.model.parameters(), None) if isinstance(self.model, torch.nn.Module) else None
        return str(torch.get_default_dtype() if first is None else first.dtype).removeprefix("torch.")

    @property
    def weights_mib(self) -> float | None:
        """Memory of parameters and buffers; `None` where it is no torch module."""
        import torch

        if not isinstance(self.model, torch.nn.Module):
            return None
        held = [*self.model.parameters(), *self.model.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in held) / 2**20


def unmatched(candidate: Contestant, baseline: Contestant) -> tuple[str, ...]:
    """What a candidate and its baseline do not share, as flags: a ratio of their times is then no verdict on the method alone."""
    sizes = {
        "parameters": (candidate.parameters, baseline.parameters), "compute": (candidate.trained_tokens, baseline.trained_tokens),
    }  # fmt: skip
    apart = {name: pair for name, pair in sizes.items() if _apart(*pair)}
    found = (f"unmatched: {name} ({ours:.3g} against {theirs:.3g})" for name, (ours, theirs) in apart.items())
    return (*found, *(("unmatched: data or tokenizer",) if candidate.data != baseline.data else ()))


def _apart(ours: int | None, theirs: int | None) -> bool:
    return ours is not None and theirs is not None and abs(ours - theirs) > ALIKE * max(ours, theirs)


@dataclass(frozen=True, slots=True)
class Written:
    """What a call wrote.

    Attributes:
        tokens: up to and including the first EOS of each text, padding left out; `None` where the model has no tokens.
        bytes: of UTF-8 text.
    """

    tokens: int | None
    bytes: int

    @classmethod
    def of(cls, answers: Sequence[Generation]) -> "Written":
        """Added up over all candidates of all answers."""
        ids = [row for answer in answers for row in answer.ids or ()]
        known = all(answer.ids is not None for answer in answers)
        return cls(
            sum(map(tokens_written, ids)) if known else None,
            sum(len(text.encode(errors="replace")) for answer in answers for text in answer.texts),
        )


def tokens_written(ids: Sequence[int]) -> int:
    """Tokens up to and including the first EOS, padding left out: whoever pads gains nothing."""
    end = ids.index(EOS) + 1 if EOS in ids else len(ids)
    return sum(token != PAD for token in ids[:end])


def short_answers(contestant: Contestant, answers: Sequence[Generation], limits: Mapping[str, int]) -> int:
    """Texts of other than the fixed length. A model that ends its texts by EOS must not fill up with EOS or padding either."""
    if not contestant.settings.fixed_length:
        return 0
    length = tokens_written if contestant.model.design.length == "EOS" else len
    return sum(length(ids) != limits[answer.id] for answer in answers for ids in answer.ids or ())

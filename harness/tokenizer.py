"""Text to ids and back: one tokenizer per task, trained on its training split, shared by all contestants.

Ids 0..4 are PAD, EOS, BOS, UNK and SEP. A mask is no token of text: kernels that need one use id `len(tokenizer)`.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>", "<sep>")
PAD, EOS, BOS, UNK, SEP = range(5)
_TRIED = 1000  # texts that a checkpoint's decoder is tried on


class Tokenizer:
    """A trained tokenizer.

    Attributes:
        kind: "words" (split at spaces), "characters", "bpe" (byte-level), or "pretrained" (see `PretrainedTokenizer`).
    """

    kind: str

    def __init__(self, kind: Literal["words", "characters", "bpe"], backend: tokenizers.Tokenizer) -> None:
        self.kind = kind
        self._backend = backend
        self._backend.encode_special_tokens = True  # text that spells out "<pad>" is text

    @classmethod
    def train(cls, kind: Literal["words", "characters", "bpe"], texts: Iterable[str], *, size: int = 8192) -> "Tokenizer":
        """Train on texts.

        Args:
            kind: how text is cut.
            texts: training texts, sources and controls included.
            size: number of entries of "bpe"; the others keep every word or character they see.

        Raises:
            ValueError: unknown kind.
        """
        build = {"words": _words, "characters": _characters, "bpe": _bpe}.get(kind)
        if build is None:
            raise ValueError(f"tokenizer kind {kind!r} is none of 'words', 'characters', 'bpe'")
        backend, trainer = build(size)
        backend.train_from_iterator(texts, trainer)
        return cls(kind, backend)

    def __len__(self) -> int:
        """Number of entries V, the five special ones included."""
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without BOS and EOS. Special tokens written out in the text are not special."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts."""
        return [encoding.ids for encoding in self._backend.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids up to the first EOS; special ids are left out."""
        ids = list(ids)
        if EOS in ids:
            ids = ids[: ids.index(EOS)]
        return self._backend.decode([index for index in ids if index >= len(SPECIALS) or index == UNK], skip_special_tokens=False)

    def token(self, index: int) -> str:
        """The entry with an id.

        Raises:
            IndexError: no entry has it.
        """
        token = self._backend.id_to_token(index)
        if token is None:
            raise IndexError(f"no token has id {index}; ids are 0..{len(self) - 1}")
        return token

    def to_json(self) -> str:
        """Everything needed to build it again."""
        return self.kind + "\n" + self._backend.to_str()

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """The inverse of `to_json`."""
        kind, _, backend = text.partition("\n")
        if kind == PretrainedTokenizer.kind:
            return PretrainedTokenizer.from_text(backend)
        return cls(kind, tokenizers.Tokenizer.from_str(backend))  # type: ignore[arg-type]

    @property
    def digest(self) -> str:
        """sha256 of the serialised tokenizer."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Tokenizer.from_json, (self.to_json(),))


class PretrainedTokenizer(Tokenizer):
    """The tokenizer of a checkpoint, with its entries in the order of every tokenizer here: PAD, EOS, BOS, UNK, SEP, the rest.

    Text never becomes PAD, EOS, BOS or SEP: a special token that is spelt out and still found in the vocabulary is UNK. Special
    tokens beyond those have no id here, so that none is written.

    Args:
        backend: as the checkpoint holds it.
        specials: the checkpoint's ids of PAD, EOS, BOS, UNK, SEP and of a mask; `None` for those that it has not. Several may be
            the same.

    Attributes:
        rows: for every id, the mask's behind all others included, the checkpoint's own id; `None` for one that it has not.
    """

    kind = "pretrained"

    def __init__(self, backend: tokenizers.Tokenizer, specials: Sequence[int | None]) -> None:
        self._backend = backend
        self._backend.encode_special_tokens = True
        self._backend.no_truncation()
        self._backend.no_padding()
        self.specials = tuple(specials)
        *first, mask = self.specials
        special = {row for row, token in backend.get_added_tokens_decoder().items() if token.special}
        rest = sorted(set(backend.get_vocab(with_added_tokens=True).values()) - special - set(self.specials))
        self.rows: tuple[int | None, ...] = (*first, *rest, mask)
        self._own = {row: index for index, row in enumerate(self.rows[:-1]) if index >= len(SPECIALS)}

    def __len__(self) -> int:
        """Number of entries V, the five special ones included, the mask left out."""
        return len(self.rows) - 1

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """See `Tokenizer`."""
        return [[self._own.get(row, UNK) for row in ids] for ids in super().encode_batch(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """See `Tokenizer`; what the checkpoint changes in a text before it is cut, such as capitals, stays changed.

        An UNK that is PAD, EOS, BOS or SEP too is spelt as here.
        """
        ids = list(ids)
        kept = ids[: ids.index(EOS)] if EOS in ids else ids
        rows = [self.rows[index] for index in kept if index >= len(SPECIALS) or index == UNK]
        known = [row for row in rows if row is not None]
        unknown = self.rows[UNK]
        if unknown not in known or unknown not in (self.rows[index] for index in (PAD, EOS, BOS, SEP)):
            return self._backend.decode(known, skip_special_tokens=False)
        pieces = [SPECIALS[UNK] if row == unknown else str(self._backend.id_to_token(row)) for row in known]
        decoder = self._backend.decoder
        return " ".join(pieces) if decoder is None else str(decoder.decode(pieces))

    def fitted_to(self, texts: Sequence[str]) -> "PretrainedTokenizer":
        """The one that gives more of these texts back exactly: itself, or, of word pieces, one that joins punctuation otherwise.

        Args:
            texts: of the task; up to `_TRIED` of them, from all over, are looked at.
        """
        decoder = self._backend.decoder
        if not isinstance(decoder, decoders.WordPiece):
            return self
        tried = texts[:: max(1, math.ceil(len(texts) / _TRIED))]
        encoded = self.encode_batch(tried)
        backend = tokenizers.Tokenizer.from_str(self._backend.to_str())
        backend.decoder = decoders.WordPiece(prefix=decoder.prefix, cleanup=not decoder.cleanup)

        def back(tokenizer: PretrainedTokenizer) -> int:
            return sum(tokenizer.decode(ids) == text for ids, text in zip(encoded, tried, strict=True))

        return max(self, PretrainedTokenizer(backend, self.specials), key=back)

    def token(self, index: int) -> str:
        """See `Tokenizer`; a special entry that the checkpoint has not is named as here."""
        if not 0 <= index < len(self):
            raise IndexError(f"no token has id {index}; ids are 0..{len(self) - 1}")
        row = self.rows[index]
        return SPECIALS[index] if row is None else str(self._backend.id_to_token(row))

    def to_json(self) -> str:
        """See `Tokenizer`."""
        return f"{self.kind}\n{json.dumps(self.specials)}\n{self._backend.to_str()}"

    @classmethod
    def from_text(cls, text: str) -> "PretrainedTokenizer":
        """The inverse of `to_json`, but for the kind."""
        specials, _, backend = text.partition("\n")
        return cls(tokenizers.Tokenizer.from_str(backend), json.loads(specials))


def _words(size: int) -> tuple[tokenizers.Tokenizer, trainers.Trainer]:
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIALS[UNK]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return backend, trainers.WordLevelTrainer(vocab_size=2**31 - 1, special_tokens=list(SPECIALS), show_progress=False)


def _characters(size: int) -> tuple[tokenizers.Tokenizer, trainers.Trainer]:
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIALS[UNK]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return backend, trainers.WordLevelTrainer(vocab_size=2**31 - 1, special_tokens=list(SPECIALS), show_progress=False)


def _bpe(size: int) -> tuple[tokenizers.Tokenizer, trainers.Trainer]:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return backend, trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )

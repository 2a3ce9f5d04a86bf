"""A BERT of two layers with random weights, saved as `transformers` saves one."""

from collections.abc import Sequence
from pathlib import Path

import pytest

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def saved_bert(folder: Path, words: Sequence[str], positions: int) -> Path:
    """The folder, with the encoder and its tokenizer in it; skips the test where `transformers` is not installed.

    Args:
        folder: an empty one.
        words: its vocabulary beside the special tokens; pieces begin with "##".
        positions: tokens of the longest text, special ones included.
    """
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words))}
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=positions,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)
    transformers.BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return folder

"""The tokenizer of a checkpoint in the order of this harness's ids."""

import json
import pickle

import pytest

from harness.errors import ModelError
from harness.pretrained import tokenizer_of
from harness.tokenizer import BOS, EOS, PAD, SEP, UNK, PretrainedTokenizer, Tokenizer

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["the", "old", "cat", "see", "##s", "."]
BERT = ["[PAD]", "the", "[UNK]", "[CLS]", "old", "[SEP]", "[MASK]", "cat", "see", "##s", "."]


def bert(folder, vocabulary=BERT, **config):
    ids = {word: index for index, word in enumerate(vocabulary)}
    transformers.BertTokenizerFast(vocab=ids).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(vocabulary), **config}))
    return folder


def byte_level(folder, **specials):
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=sorted(set(specials.values())), show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator(["the old cat sees the old dog"] * 4, trainer)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **specials)
    made.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": len(made)}))
    return folder


def test_special_ids_come_first_and_every_other_entry_once(tmp_path):
    tokenizer = tokenizer_of(bert(tmp_path))
    assert [tokenizer.token(index) for index in (PAD, EOS, BOS, UNK, SEP)] == ["[PAD]", "[SEP]", "[CLS]", "[UNK]", "[SEP]"]
    assert [tokenizer.token(index) for index in range(5, len(tokenizer))] == ["the", "old", "cat", "see", "##s", "."]
    assert tokenizer.rows == (0, 5, 3, 2, 5, 1, 4, 7, 8, 9, 10, 6)
    assert len(tokenizer) == len(tokenizer.rows) - 1
    for index in (-1, len(tokenizer)):
        with pytest.raises(IndexError, match=r"ids are 0\.\.10"):
            tokenizer.token(index)


def test_ids_are_the_checkpoint_s_own_in_another_order(tmp_path):
    tokenizer = tokenizer_of(bert(tmp_path))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("the old cat sees .", "The CAT", "", "a dog"):
        expected = theirs(text, add_special_tokens=False)["input_ids"]
        assert [tokenizer.rows[index] for index in tokenizer.encode(text)] == expected
    assert tokenizer.encode_batch(["the old", "cat"]) == [tokenizer.encode("the old"), tokenizer.encode("cat")]
    assert tokenizer.decode([*tokenizer.encode("The old cat sees"), EOS, 7]) == "the old cat sees"
    assert tokenizer.decode([PAD, 5, SEP, BOS]) == "the"


def test_text_becomes_no_special_token(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the"]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = PretrainedTokenizer(backend, (0, 3, 2, 1, 3, 4))
    assert tokenizer.encode("[PAD] [SEP] the [MASK] [CLS] [UNK] what") == [UNK, UNK, 5, UNK, UNK, UNK, UNK]


def test_special_tokens_that_a_checkpoint_has_not_are_new(tmp_path):
    """GPT-2 has one, for both ends."""
    tokenizer = tokenizer_of(byte_level(tmp_path, bos_token="<|end|>", eos_token="<|end|>"))
    end = transformers.AutoTokenizer.from_pretrained(tmp_path).eos_token_id
    assert tokenizer.rows[:5] == (None, end, end, None, end)
    assert tokenizer.rows[-1] is None
    assert tokenizer.token(PAD) == "<pad>"
    text = "the old cat sees <pad> été"
    assert tokenizer.decode([*tokenizer.encode(text), UNK]) == text


def test_it_survives_json_and_pickle(tmp_path):
    tokenizer = tokenizer_of(bert(tmp_path))
    for again in (Tokenizer.from_json(tokenizer.to_json()), pickle.loads(pickle.dumps(tokenizer))):
        assert isinstance(again, PretrainedTokenizer)
        assert (again.rows, again.digest, again.encode("old cats")) == (
            tokenizer.rows,
            tokenizer.digest,
            tokenizer.encode("old cats"),
        )
    assert Tokenizer.train("words", ["the"]).digest != tokenizer.digest


def test_a_wrong_tokenizer_is_one_error(tmp_path):
    with pytest.raises(ModelError, match="is another model's: it has ids up to 10, the model an embedding of 9 rows"):
        tokenizer_of(bert(tmp_path, vocab_size=9))
    with pytest.raises(ModelError, match="is another model's: its pad_token_id is 0, that of the model 7"):
        tokenizer_of(bert(tmp_path, pad_token_id=7))
    with pytest.raises(
        ModelError, match="it has 11 entries, the model an embedding of 140 rows, of which at most 128 may be spare"
    ):
        tokenizer_of(bert(tmp_path, vocab_size=140))
    assert len(tokenizer_of(bert(tmp_path, vocab_size=139))) == len(BERT)
    (bert(tmp_path) / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"the tokenizer in .* cannot be read"):
        tokenizer_of(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer lies in .*; expected tokenizer\.json, vocab\.txt or vocab\.json"):
        tokenizer_of(tmp_path)


def test_a_configuration_without_the_size_of_the_vocabulary_is_said(tmp_path):
    bert(tmp_path)
    for text, said in (('{"model_type": "bert"}', "says no vocab_size"), ('{"vocab_size": "9"}', "says vocab_size '9'")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match=rf"config\.json {said}; expected a whole number, the rows of the embedding"):
            tokenizer_of(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json lies in"):
        tokenizer_of(tmp_path)

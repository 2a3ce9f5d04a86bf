"""The tokenizer of a checkpoint in the order of this harness's ids."""

import json
import pickle
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from harness.construction import view_from_json
from harness.contracts import Example, TaskData
from harness.errors import ModelError
from harness.pretrained import digest_of_folder, tokenizer_of
from harness.runner import artefacts, stages
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
    folder.mkdir(exist_ok=True)
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


def test_a_decoder_that_glues_what_texts_keep_apart_is_set_right_and_stays_so(tmp_path):
    """BERT's own joins a full stop to the word before it."""
    tokenizer = tokenizer_of(bert(tmp_path))
    text = "the old cat sees ."
    fitted = tokenizer.fitted_to([text, "the cat"])
    assert tokenizer.decode(tokenizer.encode(text)) == "the old cat sees."  # another one's decoder is left as it is
    for found in (fitted, Tokenizer.from_json(fitted.to_json()), pickle.loads(pickle.dumps(fitted)), fitted.fitted_to([text])):
        assert isinstance(found, PretrainedTokenizer)
        assert (found.decode(found.encode(text)), found.rows, found.digest) == (text, tokenizer.rows, fitted.digest)
    back = fitted.fitted_to(["the old cat sees."])
    assert (back.decode(back.encode(text)), back.digest) == ("the old cat sees.", tokenizer.digest)


def test_a_decoder_stays_where_no_other_gives_more_texts_back(tmp_path):
    tokenizer = tokenizer_of(bert(tmp_path))
    for texts in ([], ["the cat"], ["the old cat sees.", "the cat sees ."], ["The cat sees ."]):
        assert tokenizer.fitted_to(texts) is tokenizer
    bytewise = tokenizer_of(byte_level(tmp_path / "bytes", eos_token="<|end|>"))
    assert bytewise.fitted_to(["the old cat sees ."]) is bytewise


def test_a_decoder_is_tried_on_texts_from_all_over_a_split(tmp_path, monkeypatch):
    tokenizer, tried = tokenizer_of(bert(tmp_path)), []
    monkeypatch.setattr(tokenizer, "encode_batch", lambda texts: tried.extend(texts) or [[]] * len(texts))
    tokenizer.fitted_to([str(index) for index in range(2500)])
    assert (len(tried), tried[0], tried[-1]) == (834, "0", "2499")


def test_a_task_s_texts_come_back_in_the_tokens_of_a_checkpoint(tmp_path, monkeypatch):
    texts = ["the old cat sees .", "the cat sees ."]
    folds = {name: [Example(id=text, target=text) for text in texts] for name in ("train", "valid", "test", "judge")}
    data = TaskData(name="ended", family="ucg", digest="0", tokenizer="words", **folds)
    monkeypatch.setattr(artefacts, "load_data", lambda *_: data)
    monkeypatch.setattr(stages, "folder_of", lambda name: bert(tmp_path))
    kept = []
    work = Mock(artefacts.Work)
    work.configure_mock(
        stage=SimpleNamespace(sources={"task": None}), store=SimpleNamespace(put=lambda blob: kept.append(blob) or "blob"),
        spec={"tokenizer": {"name": "bert", "sha256": digest_of_folder(bert(tmp_path))}},
    )  # fmt: skip
    stages.tokenize(work)
    tokenizer = view_from_json(kept[0].decode()).tokenizer
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(texts)] == texts


def test_special_tokens_beyond_the_six_cannot_be_written(tmp_path):
    transformers.BertTokenizerFast(
        vocab={word: index for index, word in enumerate(BERT)}, additional_special_tokens=["[E1]", "[E2]"]
    ).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 13}))
    tokenizer = tokenizer_of(tmp_path)
    assert tokenizer.rows == (0, 5, 3, 2, 5, 1, 4, 7, 8, 9, 10, 6)
    assert (len(tokenizer), Tokenizer.from_json(tokenizer.to_json()).rows) == (11, tokenizer.rows)
    assert all(id < len(tokenizer) for id in tokenizer.encode("the [E1] cat"))


def test_entries_that_were_added_and_are_not_special_are_entries(tmp_path):
    tokenizer = tokenizer_of(bert(tmp_path))
    backend = tokenizers.Tokenizer.from_str(tokenizer.to_json().split("\n", 2)[2])
    backend.add_tokens(["dog"])
    again = PretrainedTokenizer(backend, tokenizer.specials)
    assert (again.rows[11], again.decode(again.encode("the dog"))) == (11, "the dog")


def test_an_unknown_token_that_is_a_special_one_too_is_named_as_here(tmp_path):
    """GPT-2 has one for all three."""
    tokenizer = tokenizer_of(byte_level(tmp_path, bos_token="<|end|>", eos_token="<|end|>", unk_token="<|end|>"))
    assert tokenizer.rows[UNK] == tokenizer.rows[EOS]
    text = "the old cat sees été"
    assert tokenizer.decode([*tokenizer.encode(text), UNK, *tokenizer.encode(" dog")]) == f"{text}<unk> dog"
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[SEP]": 0, "the": 1}, unk_token="[SEP]"))
    assert PretrainedTokenizer(plain, (None, 0, None, 0, 0, None)).decode([5, UNK, 5]) == "the <unk> the"


def test_a_tokenizer_that_cuts_and_fills_up_does_neither(tmp_path):
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat"]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    for change in (lambda: backend.enable_truncation(2), lambda: backend.enable_padding(pad_token="[PAD]", length=4)):
        change()
        tokenizer = PretrainedTokenizer(backend, (0, 3, 2, 1, 3, 4))
        assert tokenizer.encode_batch(["the cat the", "cat"]) == [[5, 6, 5], [6]]


def test_special_tokens_that_are_spelt_out_are_cut_like_text(tmp_path):
    tokenizer = tokenizer_of(byte_level(tmp_path, eos_token="<|end|>"))
    text = "the<|end|> cat"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer_of(bert(tmp_path / "bert")).encode("the[SEP]cat") == [5, UNK, UNK, UNK, 7]


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

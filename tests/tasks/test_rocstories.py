import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError
from tasks.rocstories import ROCStories, fingerprint_of, plain, unseen

RAW = ["Tom didn't run. He sat.", "Ann's cat sat. It slept!"]
BEGINNING = "Bob ate .\tHe did n't stop .\tIt was fun .\tHe sang ."
PLAN = "a title <EOT> plan # words <EOL> </s> {} </s> he ran . </s> he sat . </s> he ate . </s> he slept ."


def _files() -> dict[str, tuple[str, bytes]]:
    lines = {
        "raw": [json.dumps([story]) for story in RAW],
        "post-1": [BEGINNING, "Tom did n't run ."],
        "response-1": ["He slept .", "He sat ."],
        "post-2": [BEGINNING],
        "response-2": ["He slept ."],
        "lowercase-1": [PLAN.format("eve 's dog cannot run ."), PLAN.format("eve 's dog cannot run .")],
        "lowercase-2": [PLAN.format("ivy sat .")],
    }
    return {name: (f"data/{name}", ("\n".join(content) + "\n").encode()) for name, content in lines.items()}


def test_stories_of_all_sources_in_one_form(write_sources) -> None:
    write_sources("rocstories", _files())
    data = ROCStories().load("ucg")
    assert [example.target for example in data.test] == ["tom didn't run . he sat .", "ann's cat sat . it slept !"]
    assert {example.target for example in (*data.train, *data.valid, *data.judge)} == {
        "bob ate . he didn't stop . it was fun . he sang . he slept .",
        "eve's dog cannot run . he ran . he sat . he ate . he slept .",
        "ivy sat . he ran . he sat . he ate . he slept .",
    }


def test_parallel_files_must_be_as_long(write_sources) -> None:
    write_sources("rocstories", {**_files(), "response-1": ("data/response-1", b"He slept .\n")})
    with pytest.raises(DataError, match="rocstories/post-1 has 2 lines, rocstories/response-1 1"):
        ROCStories().load("ucg")


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("It wasn't Ann's.", "it wasn't ann's ."),
        ("it was n't ann 's .", "it wasn't ann's ."),
        ("i can not , i 'm gon na go", "i cannot , i'm gonna go"),
        ("I cannot, I'm gonna go", "i cannot , i'm gonna go"),
        ("she said , `` no '' !", 'she said , " no " !'),
        ('She said, "No"!', 'she said , " no " !'),
        ("A well-known $5 plan: 50%", "a well-known $ 5 plan : 50 %"),
        ("the mean na cl", "the mean na cl"),
        ("the name 'Max' instead", "the name ' max ' instead"),
        ("the name 'max ' instead", "the name ' max ' instead"),
        ("they 'd said we 'll go , you 're late , i 've eaten", "they'd said we'll go , you're late , i've eaten"),
    ],
)
def test_one_form(story: str, expected: str) -> None:
    assert plain(story) == expected


@given(st.text("abn't  .,!\"$-", max_size=40))
def test_the_form_keeps_letters_and_white_space_is_single(story: str) -> None:
    assert fingerprint_of(plain(story)) == fingerprint_of(story)
    assert plain(story).split() == plain(story).split(" ") or plain(story) == ""


def test_repeated_and_known_stories_are_left_out() -> None:
    assert unseen(["He sat .", "he sat.", "She ran.", "Known!"], {"known"}) == ["He sat .", "She ran."]

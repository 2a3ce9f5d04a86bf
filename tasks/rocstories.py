"""ROCStories: five-sentence stories of everyday life (Mostafazadeh et al. 2016, arXiv:1604.01696)."""

import json
import re
from collections.abc import Iterable
from typing import ClassVar

from harness.contracts import Family
from harness.errors import DataError
from tasks.corpus import Corpus, Splits
from tasks.fetch import Source, lines_of

_QUOTE = re.compile(r"``|''|' '")
_SPLIT_WORD = re.compile(r" (?:(?<=\w )(?=(?:n't|'(?:d|ll|m|re|s|ve))\b)|(?<=\bcan )(?=not\b)|(?<=\b[gw][oa]n )(?=na\b))")
_SEPARATOR = re.compile(r"[\W_]+")
_TOKEN = re.compile(r"\w+(?:['-]\w+)*|[^\w\s]")


class ROCStories(Corpus):
    """Write a story (UCG).

    The usual training file is not public, so this is put together from what is: test is the 5,000 stories of
    Diffusion-LM's validation file; train the 7,751 stories of StoryEndGen's validation and test files and the 10,877 of
    Plan-and-Write's development and test files that are neither in test nor in an earlier file (compared by letters and digits).
    Numbers are not comparable with those of systems trained on the full corpus. Validation is cut from train by hash.

    The three sources tokenise differently and the largest is in lower case, so every story is brought into one form: lower
    case, punctuation separated by spaces, contractions whole (see `plain`). On the stories that two sources share the
    forms agree for 99.9 %.
    """

    name: ClassVar[str] = "rocstories"
    version: ClassVar[int] = 2
    families: ClassVar[tuple[Family, ...]] = ("ucg",)

    def read(self, family: Family) -> Splits:
        """Read the three kinds of files, leave out repeated stories, and bring the rest into one form."""
        test = raw_stories(self.source("raw"))
        cased = [story for part in "12" for story in ended_stories(self.source(f"post-{part}"), self.source(f"response-{part}"))]
        lowercase = [story for part in "12" for story in planned_stories(self.source(f"lowercase-{part}"))]
        train = unseen([*cased, *lowercase], {fingerprint_of(story) for story in test})
        return Splits(
            train=self.texts("train", [plain(story) for story in train]),
            valid=None,
            test=self.texts("test", [plain(story) for story in test]),
        )


def raw_stories(source: Source) -> list[str]:
    """Stories of a file with one JSON list of one text per line."""
    return [json.loads(line)[0] for line in lines_of(source)]


def ended_stories(beginnings: Source, endings: Source) -> list[str]:
    """Stories of two parallel files: four sentences separated by tabs, and the fifth.

    Raises:
        DataError: the files have different numbers of lines.
    """
    first, last = lines_of(beginnings), lines_of(endings)
    if len(first) != len(last):
        raise DataError(f"{beginnings.name} has {len(first)} lines, {endings.name} {len(last)}; expected as many")
    return [f"{beginning} {ending}".replace("\t", " ") for beginning, ending in zip(first, last, strict=True)]


def planned_stories(source: Source) -> list[str]:
    """Stories of a file whose lines are title, storyline and sentences: `title <EOT> plan <EOL> </s> one </s> two`."""
    return [" ".join(sentence.strip() for sentence in line.split("</s>")[1:]) for line in lines_of(source)]


def fingerprint_of(story: str) -> str:
    """Letters and digits in lower case: the same for a story however it was tokenised."""
    return _SEPARATOR.sub("", story.lower())


def unseen(stories: Iterable[str], known: set[str]) -> list[str]:
    """The stories whose fingerprint is neither known nor that of an earlier story, in order."""
    first: dict[str, str] = {}
    for story in stories:
        first.setdefault(fingerprint_of(story), story)
    return [story for key, story in first.items() if key not in known]


def plain(story: str) -> str:
    """One form for all sources: lower case, one space around punctuation, words with apostrophe or hyphen whole.

    `He did n't .`, `he didn't.` and `he didn't .` all become `he didn't .`
    """
    quoted = _QUOTE.sub('"', story.lower())
    return " ".join(_TOKEN.findall(_SPLIT_WORD.sub("", quoted)))

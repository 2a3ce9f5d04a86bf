"""Word classes of the first language, which looks like English."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from tasks.world.meaning import PAIRED, Law, zipf
from tasks.world.rules import WordClass
from tasks.world.sizes import Size
from tasks.world.stems import STEMS, stem

KINDS = ("tavern", "bistro", "lodge", "canteen")
PRICES = ("low", "fair", "high")
RATINGS = ("poor", "mixed", "good", "superb")
FAMILY = ("yes", "no")
GROUPS = {"low": "cheap", "fair": "dear", "high": "dear", "poor": "bad", "mixed": "bad", "good": "fine", "superb": "fine"}
JOINT = {("cheap", "bad"): 0.38, ("cheap", "fine"): 0.07, ("dear", "bad"): 0.15, ("dear", "fine"): 0.4}
GENDERS = ("f", "m", "n")
OPEN_WORDS = {
    "name.sg": "crown heron lantern anchor orchard falcon compass harp thistle beacon pelican juniper mitre saddle cedar otter",
    "name.pl": "willows ravens barrels swans bells antlers poppies foxes candles keys sparrows acorns",
    "food": "thai french greek polish vegan persian korean basque tuscan creole cuban nordic kosher welsh lebanese turkish",
    "chef": "chef baker brewer pupil cousin uncle widower hermit butcher gardener",
    "area": "harbour market castle forest meadow suburb port valley hill dock marsh park",
    "near": "mill bridge chapel tower library museum theatre fountain statue station brewery quarry gate pier school bank",
    "critic": "sailors poets farmers judges tourists locals soldiers painters scholars drivers",
    "season": "spring summer autumn winter january june october december",
    "owner.sg": "baron abbot widow mayor countess squire bishop warden",
    "owner.pl": "monks nuns sisters merchants brothers knights orphans weavers",
    "foe.sg": "sheriff duchess captain miller prince hangman deacon smith",
    "foe.pl": "guards students bandits pirates rebels jurors beggars rivals",
}
TAGS = {
    "name.sg": "NOUN", "name.pl": "NOUN", "food": "ADJ", "chef": "NOUN", "area": "NOUN", "near": "NOUN", "critic": "NOUN",
    "season": "NOUN", "owner.sg": "NOUN", "owner.pl": "NOUN", "foe.sg": "NOUN", "foe.pl": "NOUN",
}  # fmt: skip
NOUNS = {"f": "food cuisine", "m": "dishes plates", "n": "meals suppers"}
ADJECTIVES = {"low": "cheap frugal", "fair": "moderate sensible", "high": "costly lavish"}
COSTS = {"low": "low", "fair": "fair", "high": "steep"}
REVIEWS = {"poor": "poor dismal", "mixed": "mixed uneven", "good": "good kind", "superb": "superb glowing"}
VERBS = {
    "serve": ("serves offers", "serve offer"),
    "charge": ("charges asks", "charge ask"),
    "lie": ("lies hides", "lie hide"),
    "stand": ("stands sits", "stand sit"),
    "receive": ("receives earns", "receive earn"),
    "welcome": ("welcomes admits", "welcome admit"),
    "refuse": ("refuses rejects", "refuse reject"),
    "own": ("owns runs", "own run"),
    "dislike": ("dislikes avoids", "dislike avoid"),
}
FUNCTION_WORDS = {
    "be.sg": "is", "be.pl": "are", "it.sg": "it", "it.pl": "they", "its.sg": "its", "its.pl": "their", "this.sg": "this",
    "this.pl": "these", "the": "the", "a": "a", ".": ".", ",": ",", "and": "and", "both": "both", "not": "not", "only": "only",
    "but": "but", "also": "also", "neither": "neither", "nor": "nor", "which": "which", "that": "that", "whom": "whom",
    "in": "in", "beside": "near", "there": "there", "called": "called", "although": "although", "prices": "prices",
    "reviews": "reviews", "child": "children", "kitchen": "kitchen", "by": "by", "from": "from", "since": "since",
}  # fmt: skip
FUNCTION_TAGS = {
    "be": "VERB", "it": "PRON", "its": "DET", "this": "DET", "the": "DET", "a": "DET", ".": "PUNCT", ",": "PUNCT", "and": "CONJ",
    "both": "CONJ", "not": "PART", "only": "ADV", "but": "CONJ", "also": "ADV", "neither": "CONJ", "nor": "CONJ", "which": "PRON",
    "that": "PRON", "whom": "PRON", "in": "ADP", "beside": "ADP", "there": "PRON", "called": "VERB", "although": "CONJ",
    "prices": "NOUN", "reviews": "NOUN", "child": "NOUN", "kitchen": "NOUN", "by": "ADP", "from": "ADP", "since": "ADP",
}  # fmt: skip


def first_lexicon(size: Size) -> dict[str, WordClass]:
    """All word classes that the rules of a size may use, by name."""
    classes = dict(_open_classes(size))
    for kind in kinds(size):
        classes[f"kind.{kind}.sg"], classes[f"kind.{kind}.pl"] = _fixed(kind, "NOUN"), _fixed(kind + "s", "NOUN")
    for gender, words in NOUNS.items():
        classes[f"noun.{gender}"] = _synonyms(words, size, "NOUN")
    for price in prices(size):
        classes[f"price.{price}"] = _synonyms(ADJECTIVES[price], size, "ADJ")
        classes[f"cost.{price}"] = _fixed(COSTS[price], "ADJ")
    for rating in ratings(size):
        classes[f"rating.{rating}"] = _synonyms(REVIEWS[rating], size, "ADJ")
    for verb, forms in VERBS.items():
        for number, words in zip(("sg", "pl"), forms, strict=True):
            classes[f"{verb}.{number}"] = _synonyms(words, size, "VERB")
    return classes | {
        name: _fixed(word, FUNCTION_TAGS[name if name == "." else name.split(".")[0]]) for name, word in FUNCTION_WORDS.items()
    }


def _open_classes(size: Size) -> Iterator[tuple[str, WordClass]]:
    invented = (stem(number) for number in range(STEMS))
    for name, count in size.counts:
        known = OPEN_WORDS[name].split()[:count]
        ending = "eys" if name.endswith("pl") or name == "critic" else "ey"
        words = (*known, *(next(invented) + ending for _ in range(count - len(known))))
        yield name, WordClass(words, zipf(count), words, TAGS[name])


def _synonyms(words: str, size: Size, tag: str) -> WordClass:
    chosen = tuple(words.split()[: size.synonyms])
    return WordClass(chosen, zipf(len(chosen)), ("",) * len(chosen), tag)


def _fixed(word: str, tag: str) -> WordClass:
    return WordClass((word,), (1.0,), ("",), tag)


def kinds(size: Size) -> tuple[str, ...]:
    """Kinds of place, the most frequent first."""
    return KINDS[: size.kinds]


def prices(size: Size) -> tuple[str, ...]:
    """Prices, from low to high."""
    return tuple(PRICES[index] for index in {2: (0, 2), 3: (0, 1, 2)}[size.prices])


def ratings(size: Size) -> tuple[str, ...]:
    """Ratings, from worst to best."""
    return RATINGS[: size.ratings]


def law(size: Size) -> Law:
    """The distribution of attribute values of a size."""
    values = {"kind": kinds(size), "price": prices(size), "rating": ratings(size), "family": FAMILY}
    marginal = {name: zipf(len(options)) for name, options in values.items() if options}
    joint = JOINT if size.ratings else {}
    for attribute, options in (("price", prices(size)), ("rating", ratings(size))):
        if joint:
            marginal[attribute] = _within_groups(options, JOINT, PAIRED.index(attribute))
    return Law(size.open, values, marginal, GROUPS, joint)


def _within_groups(options: tuple[str, ...], joint: Mapping[tuple[str, str], float], side: int) -> tuple[float, ...]:
    """Marginal probabilities: the share of each group, split evenly among its values."""
    sizes = Counter(GROUPS[option] for option in options)
    shares: dict[str, float] = defaultdict(float)
    for pair, share in joint.items():
        shares[pair[side]] += share
    return tuple(shares[GROUPS[option]] / sizes[GROUPS[option]] for option in options)

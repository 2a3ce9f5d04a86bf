"""The rules: how a place is spoken of, in both languages at once.

The first language puts the verb second and has articles and prepositions; the second puts it last and has cases and genders.
Notation: see `tasks.world.rules`. Nonterminals ending in a digit know how many relative clauses they stand in.
"""

from collections.abc import Iterator

from tasks.world.lexicon import GENDERS, NOUNS, kinds, prices, ratings
from tasks.world.meaning import zipf
from tasks.world.rules import Rule, rule
from tasks.world.second import gender_of_kind
from tasks.world.sizes import Size

NUMBERS = ("sg", "pl")
DEPTHS = (0, 1)


def all_rules(size: Size) -> tuple[Rule, ...]:
    """Every rule of a size."""
    parts = (_discourse, _opening, _sentences, _predicates, _clauses, _kind_phrases, _values, _attached, _landmarks)
    return tuple(item for part in parts for item in part(size))


def _discourse(size: Size) -> Iterator[Rule]:
    yield rule("TEXT", 1, "OPEN MORE1 TURN1", "OPEN MORE1 TURN1")
    for place in range(1, size.places):
        yield rule(f"TURN{place}", size.alone, "", "")
        turn = f"+place OPEN MORE1 TURN{place + 1}"
        yield rule(f"TURN{place}", 1 - size.alone, turn, turn)
    yield rule(f"TURN{size.places}", 1, "", "")
    for done in range(1, size.sentences):
        yield rule(f"MORE{done}", size.stop, "", "", said=size.least)
        last = "LAST" if done == size.sentences - 1 > 1 else "NEXT"
        yield rule(f"MORE{done}", 1 - size.stop, f"{last} MORE{done + 1}", f"{last} MORE{done + 1}", free=1)
    yield rule(f"MORE{size.sentences}", 1, "", "")


def _opening(size: Size) -> Iterator[Rule]:
    yield rule("OPEN", 6, "SUBJECT PRED0 .", "SUBJECT PRED0 .")
    for number in NUMBERS:
        name = f"#{number} name.{number}!name"
        yield rule("SUBJECT", 1, f"#{number} the name.{number}!name AFTERNAME", f"{name} AFTERNAME")
    yield rule("AFTERNAME", 1 - size.relative, "", "")
    if size.has("relative"):
        yield rule("AFTERNAME", size.relative, ", which RELATIVE ,", ", which* RELATIVE ,", free=2)
    if size.has("fronted"):
        yield rule("OPEN", 1, "beside PLACE0 , SUBJECT PRED0 .", "PLACE0 , SUBJECT PRED0 .", unsaid=["near"])
    if size.has("existential"):
        for number, article in zip(NUMBERS, ("a", ""), strict=True):
            first = f"#{number} there be.{number} {article} KIND called the name.{number}!name INAREA ."
            yield rule("OPEN", 0.7, first, f"#{number} KIND name.{number}!name called INAREA exist.{number} .")


def _sentences(size: Size) -> Iterator[Rule]:
    for head, clause in (("NEXT", "PRED1"), ("LAST", "ATOM1")):
        yield rule(head, 4, f"-kind it* {clause} .", f"-kind it* {clause} .")
        for kind in kinds(size) if size.has("demonstrative") and head == "NEXT" else ():
            second = f"-kind this.{gender_of_kind(size, kind)}* kind.{kind}* {clause} ."
            yield rule(head, 3, f"-kind this* kind.{kind}* {clause} .", second, when=[("kind", kind)])
        if size.has("possessive"):
            yield rule(head, 1, "-kind its* kitchen serve.sg DISH .", "-kind its* kitchen DISH serve.sg .", unsaid=["food"])
            yield rule(head, 1, "-kind its* prices be.pl COSTnom .", "-kind its* prices.nom COSTnom be.pl .", unsaid=["price"])
            yield rule(head, 1, "-kind its* reviews be.pl RATEnom .", "-kind its* reviews.nom RATEnom be.pl .", unsaid=["rating"])
    if size.has("although"):
        first = "-kind although it* BARE , it* ATOM1 ."
        yield rule("NEXT", 1.5, first, first, free=2)


def _predicates(size: Size) -> Iterator[Rule]:
    yield rule("TAIL", 0.6, "", "")
    if size.has("coordination"):
        yield rule("TAIL", 0.4, "and ATOM0", "and ATOM0", free=1)
    for depth in DEPTHS:
        head, atom = f"PRED{depth}", f"ATOM{depth}"
        tail = "TAIL" if depth == 0 else ""
        yield rule(head, 5, f"{atom} {tail}", f"{atom} {tail}")
        if size.has("both"):
            yield rule(head, 1, f"both BARE and {atom}", f"both BARE and {atom}", free=2)
        if size.has("not only") and depth == 0:
            yield rule(head, 1, f"not only BARE but also {atom}", f"notonly BARE butalso {atom}", free=2)
        if size.has("neither"):
            yield from _neither(size, head)


def _neither(size: Size, head: str) -> Iterator[Rule]:
    for price in prices(size)[::2]:
        other = next(item for item in prices(size)[::2] if item != price)
        first = f"neither welcome*!family=no child nor charge* cost.{other}!price={price} prices"
        second = f"neither child welcome*!family=no neither cost.{other}.acc!price={price} prices.acc charge*"
        yield rule(head, 3, first, second, draws=[("family", "no"), ("price", price)])


def _clauses(size: Size) -> Iterator[Rule]:
    """Verb phrases that say one attribute; ATOM may say more on the way, BARE and RELATIVE may not."""
    for head in ("BARE", "RELATIVE", "ATOM0", "ATOM1"):
        yield from _kind_clauses(size, head)
        place = "PLACE1" if head == "RELATIVE" else f"PLACE{head[-1]}"
        for attribute, weight, first, second in (
            ("food", 3, "serve* DISH", "DISH serve*"),
            ("price", 2, "COSTS", "COSTS"),
            ("rating", 2, "receive* RATEacc reviews CRITICS", "RATEacc reviews.acc CRITICS receive*"),
            ("family", 2, "FAMILY", "FAMILY"),
            ("area", 2, "lie* in the area!area", "area!area lie*"),
            ("near", 3, f"stand* beside {place}", f"{place} stand*"),
        ):
            if attribute in size.open and (attribute, head) != ("near", "BARE"):
                yield rule(head, weight, first, second, unsaid=[attribute])


def _kind_clauses(size: Size, head: str) -> Iterator[Rule]:
    noun = {"ATOM0": "KIND INAREA", "ATOM1": "KIND"}.get(head, "PLAIN")
    for number, article in zip(NUMBERS, ("a", ""), strict=True):
        yield rule(head, 3, f"be* {article} {noun}", f"{noun} be*", unsaid=["kind"], when=[("number", number)])


def _kind_phrases(size: Size) -> Iterator[Rule]:
    yield rule("INAREA", 0.6, "", "")
    if size.has("area"):
        yield rule("INAREA", 0.4, "in the area!area", "area!area")
    for kind in kinds(size):
        noun = f"kind.{kind}*!kind={kind}"
        for head in ("PLAIN", "KIND"):
            yield rule(head, 0.55, noun, noun, draws=[("kind", kind)])
        for price in prices(size):
            adjective = f"price.{price}.{gender_of_kind(size, kind)}*!price={price}"
            draws = [("price", price), ("kind", kind)]
            yield rule("KIND", 0.45, f"price.{price}!price={price} {noun}", f"{adjective} {noun}", draws=draws)


def _values(size: Size) -> Iterator[Rule]:
    for gender, weight in zip(GENDERS, zipf(len(NOUNS)), strict=True):
        yield rule("DISH", weight, f"food!food noun.{gender} COOK", f"food.{gender}!food noun.{gender} COOK")
    for price in prices(size):
        weight = 0.5 if price == "fair" and size.has("neither") else 1
        draws, says = [("price", price)], f"!price={price}"
        yield rule(
            "COSTS",
            weight,
            f"charge* cost.{price}{says} prices SINCE",
            f"cost.{price}.acc{says} prices.acc SINCE charge*",
            draws=draws,
        )
        yield rule("COSTnom", 1, f"cost.{price}{says}", f"cost.{price}.nom{says}", draws=draws)
    if "fair" in prices(size) and size.has("neither"):
        second = "neither price.low.n*!price=fair neither price.high.n* be*"
        yield rule("COSTS", 0.5, "be* neither!price=fair price.low nor price.high", second, draws=[("price", "fair")])
    for rating in ratings(size):
        for case in ("nom", "acc"):
            draws, says = [("rating", rating)], f"!rating={rating}"
            yield rule(f"RATE{case}", 1, f"rating.{rating}{says}", f"rating.{rating}.{case}{says}", draws=draws)
    if "family" in size.open:
        yield rule("FAMILY", 1, "welcome*!family=yes child", "child welcome*!family=yes", draws=[("family", "yes")])
        yield rule("FAMILY", 1, "refuse*!family=no child", "child refuse*!family=no", draws=[("family", "no")])


def _attached(size: Size) -> Iterator[Rule]:
    """Attributes that only another one introduces."""
    for head, attribute, first in (
        ("COOK", "chef", "by the chef!chef"),
        ("CRITICS", "critic", "from the critic!critic"),
        ("SINCE", "season", "since season!season"),
    ):
        yield rule(head, 1 - size.attached, "", "")
        if size.has(attribute):
            yield rule(head, size.attached, first, f"{attribute}!{attribute}")


def _landmarks(size: Size) -> Iterator[Rule]:
    if "near" not in size.open:
        return
    for depth in DEPTHS:
        yield rule(f"PLACE{depth}", 1, f"the near!near OWNER{depth}", f"near!near OWNER{depth}")
        yield rule(f"OWNER{depth}", 1 - size.relative, "", "")
        for number in NUMBERS if size.has("owner") else ():
            foe = f"FOE{depth}" if depth == 0 and size.has("foe") else ""
            first = f"that the owner.{number}!owner {foe} own.{number}"
            yield rule(f"OWNER{depth}", size.relative / 2, first, f"that owner.{number}!owner {foe} own.{number}")
    yield rule("FOE0", 1 - size.relative, "", "")
    for number in NUMBERS if size.has("foe") else ():
        first = f"whom the foe.{number}!foe dislike.{number}"
        yield rule("FOE0", size.relative / 2, first, f"whom foe.{number}!foe dislike.{number}")

"""Slot errors of E2E texts: attributes that are missing, wrong or made up, by the rules of `tasks.e2e_rules`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from harness.contracts import Content, Example, Family
from harness.measurement import Evaluation, Measurement
from harness.metrics.answers import checked_texts, clusters, empty_flags, measured, over_items, refusal, refusals, share
from harness.stats.intervals import clustered_wilson, ratio_of_sums
from harness.stats.misclassification import LEAST_YOUDEN, corrected_share
from tasks.e2e import SLOTS
from tasks.e2e_rules import RULES, Reader, Said, accepted, plain, reader

Verdict = Literal["right", "missing", "wrong", "hallucinated"]
_PLACES = ("name", "near")
_KNOWN = {**{slot: frozenset(rules) for slot, rules in RULES.items()}, "familyFriendly": frozenset({"yes", "no"})}


class SlotErrors:
    """Slot error rate: (missing + wrong + hallucinated) / slots asked for, over all texts.

    Substitutions, deletions and insertions over what was asked (Makhoul et al. 1999); the ERR of Wen et al. 2015
    (arXiv:1508.01745, section 4.1) with a wrong value counted once, not as missing and redundant. A slot is *right* where its
    value is found and no other, *wrong* where another is found, *missing* where none is, *hallucinated* where one is found that
    was not asked for. Above 1 where more is made up than asked for.

    `slots_right` is the share of texts without any error. `slots_right_corrected` is the share of slots asked for whose value
    is found, corrected after Rogan and Gladen 1978: the rules' sensitivity is how often they find what was asked in the
    references of the same items, their specificity how often they do not find in them what another item asks. The
    references leave out much themselves (up to 40 % of the corpus: Dušek et al. 2019, arXiv:1911.03905), and the
    rules cannot tell that from a miss of their own: so 1 means as complete as human text, and a careful system is above it.

    Says nothing of fluency: filled templates, and the attributes themselves, do well.
    """

    name: ClassVar[str] = "e2e-slots"
    version: ClassVar[int] = 1
    families: ClassVar[tuple[Family, ...]] = ("a2t",)
    needs: ClassVar[tuple[str, ...]] = ()
    of_task: ClassVar[tuple[str, ...]] = ("E2E attributes",)
    values: ClassVar[Mapping[str, bool | None]] = {
        "slot_error_rate": False, "slots_missing": False, "slots_wrong": False, "slots_hallucinated": False,
        "slots_right": True, "slots_right_corrected": True,
    }  # fmt: skip
    exposes: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        ("slot_error_rate", "slots_right", "slots_right_corrected"), ("empty", "constant", "majority")
    )

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Measurement]:
        """Measure the selected texts; refused where an example asks for something else than E2E's slots."""
        texts, examples = checked_texts(evaluation), evaluation.examples
        places = known_places([*evaluation.train, *examples])
        signature = f"slots:{len(SLOTS)}|rules:{self.version}|places:{len(places)}"
        reason = "no items" if not texts else _unfit(examples)
        if reason:
            return refusals(self.values, reason, n=len(texts), signature=signature)
        reads = reader(places)
        pairs = zip(examples, texts, strict=True)
        counts = np.array([_counts(asked_of(example), reads.read(text)) for example, text in pairs], dtype=np.float64)
        asked, missing, wrong, hallucinated, found = counts.T
        errors, slots = missing + wrong + hallucinated, _Slots(evaluation, asked, signature, empty_flags(texts))
        return {
            "slot_error_rate": slots.rate("slot_error_rate", errors),
            "slots_missing": slots.rate("slots_missing", missing),
            "slots_wrong": slots.rate("slots_wrong", wrong),
            "slots_hallucinated": slots.rate("slots_hallucinated", hallucinated),
            "slots_right": share(evaluation, (errors == 0).tolist(), signature=signature, flags=slots.flags),
            "slots_right_corrected": slots.corrected(reads, found),
        }


def asked_of(example: Example) -> dict[str, str]:
    """Slot -> value that an example asks for; nothing where it has no attributes."""
    return dict(example.control.attributes) if isinstance(example.control, Content) else {}


def known_places(examples: Sequence[Example]) -> frozenset[str]:
    """Names of restaurants and of what they are near to, in all these examples, as the rules read them."""
    return frozenset(plain(value) for example in examples for slot, value in asked_of(example).items() if slot in _PLACES)


def verdicts(asked: Mapping[str, str], said: Said) -> dict[str, Verdict]:
    """What became of every slot that was asked for, or that the text speaks of.

    Args:
        asked: slot -> value.
        said: what the text says.
    """
    found = _places(asked, said)
    for slot in _KNOWN:
        values, wanted = said.said[slot], asked.get(slot)
        if wanted is None:
            found |= {slot: "hallucinated"} if values else {}
        elif values - accepted(slot, wanted):
            found[slot] = "wrong"
        else:
            found[slot] = "right" if answered(slot, wanted, said) else "missing"
    return found


def answered(slot: str, value: str, said: Said) -> bool:
    """Whether the value of a slot is found in what a text says, whatever else it says."""
    if slot in _PLACES:
        return plain(value) in said.places
    return bool(accepted(slot, value) & (said.said[slot] | said.hinted.get(slot, frozenset())))


def _places(asked: Mapping[str, str], said: Said) -> dict[str, Verdict]:
    """The restaurant and what it is near to; another name stands for the one that is missing, the restaurant's first."""
    found: dict[str, Verdict] = {}
    others = len(said.places - {plain(asked[slot]) for slot in _PLACES if slot in asked})
    for slot in _PLACES:
        if slot not in asked:
            found |= {slot: "hallucinated"} if others else {}
        elif not answered(slot, asked[slot], said):
            found[slot] = "wrong" if others else "missing"
            others = max(others - 1, 0)
        else:
            found[slot] = "wrong" if slot == "near" and others else "right"
    return found


def _counts(asked: Mapping[str, str], said: Said) -> tuple[int, int, int, int, int]:
    """Slots asked for, missing, wrong, hallucinated; and those whose value is found."""
    given = list(verdicts(asked, said).values())
    hits = sum(answered(slot, value, said) for slot, value in asked.items())
    return len(asked), given.count("missing"), given.count("wrong"), given.count("hallucinated"), hits


def _unfit(examples: Sequence[Example]) -> str | None:
    for example in examples:
        asked = asked_of(example)
        strange = [
            f"{slot}[{value}]" for slot, value in asked.items() if slot not in _PLACES and value not in _KNOWN.get(slot, ())
        ]
        if not asked or strange:
            given = strange[0] if strange else "no attributes"
            return f"example {example.id!r} asks for {given}; there are rules for the slots and values of E2E only"
    return None


@dataclass(frozen=True, slots=True)
class _Trial:
    """How the rules do on the references of one item, per reference: found of its own values, and of another item's."""

    found: float
    asked: int
    false_alarms: float
    others: int


@dataclass(frozen=True, slots=True)
class _Slots:
    """What all values of slots have in common; `asked` counts the slots that each text was asked for."""

    evaluation: Evaluation
    asked: Float[np.ndarray, " n"]
    signature: str
    flags: tuple[str, ...]

    def rate(self, name: str, errors: Float[np.ndarray, " n"]) -> Measurement:
        """Errors over slots asked for."""
        rows = np.stack([errors, self.asked], axis=1)
        interval = over_items(self.evaluation, rows, ratio_of_sums, name=name)
        if interval is None and np.all(errors <= self.asked):
            interval = clustered_wilson(rows, clusters(self.evaluation))
        value = float(errors.sum() / self.asked.sum())
        return measured(value, interval, n=len(rows), signature=self.signature, flags=self.flags, items=rows, aggregate="ratio")

    def corrected(self, reads: Reader, found: Float[np.ndarray, " n"]) -> Measurement:
        """Values found over slots asked for, corrected by how the rules do on the references."""
        trials = _trials(self.evaluation, reads)
        rows = np.array([
            (hits, wanted, trial.found, trial.asked, trial.false_alarms, trial.others)
            for hits, wanted, trial in zip(
                found, self.asked, map(trials.__getitem__, clusters(self.evaluation)), strict=True
            )
        ])  # fmt: skip
        sums, n = rows.sum(0), len(rows)
        if not sums[5]:
            return refusal("no item asks for what another does not: no text to try the rules on", n=n, signature=self.signature)
        observed, sensitivity, false_alarms = sums[0::2] / sums[1::2]
        tried = f"on human text sensitivity {sensitivity:.3f}, specificity {1 - false_alarms:.3f}"
        if sensitivity - false_alarms <= LEAST_YOUDEN:
            return refusal(f"{tried}: their sum is not above {1 + LEAST_YOUDEN}", n=n, signature=self.signature)
        value = float(corrected_share(sums[None])[0])
        interval = over_items(self.evaluation, rows, corrected_share, name="slots_right_corrected")
        more = ("above 1: more complete than the references",) if value > 1 + 1e-9 else ()
        return measured(
            value, interval, n=n, signature=f"{self.signature}|corrected:rogan-gladen", items=rows, aggregate="rogan-gladen",
            flags=(*self.flags, f"found: {observed:.3f}; {tried}", *more),
        )  # fmt: skip


def _trials(evaluation: Evaluation, reads: Reader) -> dict[str, _Trial]:
    """Item -> trial; an item's references are held against the attributes of the item half a list further on."""
    distinct = dict(zip(clusters(evaluation), evaluation.examples, strict=True))
    items = list(distinct)
    return {
        item: _trial(distinct[item], asked_of(distinct[items[(place + len(items) // 2) % len(items)]]), reads)
        for place, item in enumerate(items)
    }


def _trial(example: Example, others: Mapping[str, str], reads: Reader) -> _Trial:
    asked, references = asked_of(example), [reads.read(text) for text in example.accepted]
    strange = {slot: value for slot, value in others.items() if slot not in asked or value not in accepted(slot, asked[slot])}
    return _Trial(_hits(asked, references), len(asked), _hits(strange, references), len(strange))


def _hits(asked: Mapping[str, str], references: Sequence[Said]) -> float:
    """Values found, per reference."""
    return sum(answered(slot, value, said) for said in references for slot, value in asked.items()) / len(references)

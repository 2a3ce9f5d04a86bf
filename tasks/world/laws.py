"""Exact law of what texts say."""

import numpy as np

from tasks.world.automaton import Automaton


def attribute_law(automaton: Automaton) -> dict[str, dict[str, float]]:
    """Probability of each value of each attribute; "" stands for an attribute that the text does not say."""
    flow = sum(
        occupied[automaton.source] * automaton.arc_probabilities(position)
        for position, occupied in enumerate(automaton.occupation)
    )
    mass = np.bincount(automaton.label, weights=flow, minlength=len(automaton.labels))
    law: dict[str, dict[str, float]] = {}
    for (name, attribute, fixed), share in zip(automaton.labels, mass, strict=True):
        if attribute:
            values = law.setdefault(attribute, {})
            group = automaton.lexicon[name]
            for value, probability in [(fixed, 1.0)] if fixed else zip(group.values, group.probabilities, strict=True):
                values[value] = values.get(value, 0.0) + float(share) * probability
    return {attribute: values | {"": max(0.0, 1.0 - sum(values.values()))} for attribute, values in law.items()}

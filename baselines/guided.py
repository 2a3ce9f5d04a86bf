"""What systems share whose canvas begins with the source, which may be left out: condition dropout, guidance."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from baselines.discrete import DiscreteAdapter, pinned_source
from baselines.parts.conditioning import Layout
from baselines.parts.denoisers import Denoiser
from baselines.parts.guidance import ConditionDropout, Guided
from harness.contracts import TaskView
from harness.design import Design


class GuidedAdapter(DiscreteAdapter):
    """A source stands before its target and is never corrupted; classifier-free guidance where `guidance` gives it a weight."""

    sampling_keys: ClassVar[tuple[str, ...]] = ("guidance",)

    @classmethod
    def checked(cls, size: Mapping[str, Any]) -> dict[str, Any]:
        """Size keys with their defaults.

        Raises:
            ValueError: an unknown key, a `guidance` that is no weight, or one that mixes in estimates which training never made.
        """
        keys = super().checked(size)
        gamma = keys.get("guidance")
        if gamma is not None and not (type(gamma) in (int, float) and 0 <= gamma < math.inf):
            raise ValueError(f"guidance {gamma!r}, expected null or a finite weight from 0 on")
        if gamma not in (None, 1) and keys.get("condition_dropout") == 0:
            raise ValueError(
                f"guidance {gamma!r} mixes in estimates without the condition, which are learnt only where it is hidden: "
                "with condition_dropout 0 they never are. Give it a share, such as 0.1, or guidance null"
            )
        return keys

    @classmethod
    def design_for(cls, **size: Any) -> Design:
        """The design; guidance needs a condition."""
        if cls.checked(size).get("guidance") is None:
            return cls.design
        conditional = tuple(family for family in cls.design.families if family != "ucg")
        return replace(cls.design, families=conditional)

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """The target alone, or behind its source."""
        return pinned_source(task)

    @classmethod
    @abstractmethod
    def left_out(cls, task: TaskView) -> int:
        """What stands at the places of a condition that is left out."""

    @classmethod
    def condition_dropout(cls, task: TaskView, keys: Mapping[str, Any]) -> ConditionDropout | None:
        """What hides the conditions of some training examples."""
        rate = keys["condition_dropout"] if task.family != "ucg" else 0.0
        return ConditionDropout(rate, cls.left_out(task)) if rate else None

    def sampling_denoiser(self, denoiser: Denoiser) -> Denoiser:
        """Guided, where a weight is given."""
        gamma = self.keys.get("guidance")
        return denoiser if gamma is None else Guided(denoiser, float(gamma), self.left_out(self.task))

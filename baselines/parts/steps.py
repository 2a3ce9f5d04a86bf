"""What an objective may look at."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.estimates import Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Everything about one training step that an objective may look at; s is the next time towards the data.

    Attributes:
        clean: states of the tokens themselves.
        x0: what was corrupted: `clean`, or `clean` with the noise of the embedding step.
        t: the time.
        first: rows whose reverse step ends at the data (s = 0).
        alpha_T: signal kept at t = 1.
    """

    ids: Int[Tensor, "B L"]
    given: Bool[Tensor, "B L"]
    clean: Tensor
    x0: Tensor
    x_t: Tensor
    estimate: Estimate
    t: Float[Tensor, "B #L"]
    alpha_t: Float[Tensor, "B L"]
    alpha_s: Float[Tensor, "B L"]
    alpha_T: Float[Tensor, "B #L"]
    first: Bool[Tensor, "B #L"]

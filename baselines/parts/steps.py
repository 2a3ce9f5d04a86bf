"""What an objective may look at."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from baselines.parts.estimates import Estimate, OfPlaces


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Everything about one training step that an objective may look at; s is the next time towards the data.

    Attributes:
        ids: the true tokens, padding too.
        given: positions that show a condition: not corrupted, not to be written.
        clean: states of the tokens themselves: ids, or vectors.
        x0: what was corrupted: `clean`, or `clean` with the noise of the embedding step.
        x_t: the noisy states, of the form of `clean`.
        estimate: what the network makes of them: log-probabilities of the tokens at every position, "B L V", read when asked for.
        t: the time, from 0 at the data to 1, of each row or position.
        alpha_t, alpha_s: signal kept at t and at s, as the reverse step hears of it.
        alpha_T: signal kept at t = 1.
        first: rows whose reverse step ends at the data (s = 0).
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

    def at(self, places: Bool[Tensor, "B L"]) -> "Step":
        """The step at some positions: one row of them, in their order. The network's answer is made there only."""

        def row(values: Tensor) -> Tensor:
            return values.expand(*places.shape, *values.shape[2:])[places][None]

        return Step(
            ids=row(self.ids), given=row(self.given), clean=row(self.clean), x0=row(self.x0), x_t=row(self.x_t),
            estimate=OfPlaces(self.estimate, places), t=row(self.t), alpha_t=row(self.alpha_t), alpha_s=row(self.alpha_s),
            alpha_T=row(self.alpha_T), first=row(self.first),
        )  # fmt: skip

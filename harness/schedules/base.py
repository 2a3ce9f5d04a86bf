"""What every noise schedule is: the fraction of the signal that is kept at time t."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from harness.design import Grain


class Exact(nn.Module):
    """A module whose own buffers keep their dtype, whatever dtype a model is moved to; they follow it to its device."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            setattr(self, name, buffer.to(getattr(self, name).device))
        return self


class Schedule(Exact, ABC):
    """Signal kept, alpha-bar, as a function of time; t = 0 is data and t = 1 is noise.

    alpha-bar lies in [0, 1], does not increase with t, and is computed in float64, whatever dtype a model is moved to. What
    it means is the kernel's affair: the probability that a token is untouched, or the squared amplitude of an embedding.

    Attributes:
        grain: what alpha-bar depends on beside time: nothing ("sequence"), the position in the target ("position"), or the
            tokens of the sentence ("content").
        steps: number of steps T of a discretised schedule, which is defined at t = i / T only; `None` for closed forms.
        specification: the name and parameters from which `build` makes the same schedule again ("sqrt@2000").
    """

    grain: ClassVar[Grain] = "sequence"
    steps: int | None = None
    specification: str = ""

    @abstractmethod
    def alpha_bar(self, t: Float[Tensor, "B #L"], ids: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B #L"]:
        """Signal kept at time t, float64.

        Args:
            t: time in [0, 1], one for the sequence or one per position.
            ids: target tokens in training, the current estimate in sampling; only content schedules look at them.

        Raises:
            ValueError: t outside [0, 1], or off the grid of a discretised schedule.
        """

    def rate(self, t: Float[Tensor, "B #L"], ids: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B #L"]:
        """Derivative of alpha-bar with respect to t, at most 0, by automatic differentiation."""
        with torch.enable_grad():
            time = t.detach().to(torch.float64).requires_grad_(True)
            (slope,) = torch.autograd.grad(self.alpha_bar(time, ids).sum(), time)
        return slope

    def observe(self, t: Float[Tensor, "B #L"], loss: Float[Tensor, "B L"]) -> None:
        """Hear of a training loss; adaptive schedules refit themselves from it, the others do nothing."""

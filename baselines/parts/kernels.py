"""How x is corrupted: what every kernel offers. Time, alpha and conditioning are decided elsewhere."""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from baselines.parts.spaces import DrawSource


@runtime_checkable
class Distribution(Protocol):
    """Parameters of a law over x, one position at a time; guidance and other samplers may change them before a draw."""

    def sample(self, noise: Tensor) -> Tensor:
        """A draw, made from the kernel's own noise."""
        ...

    def mode(self) -> Tensor:
        """The most probable x (its mean, for Gaussians)."""
        ...


class Kernel(ABC):
    """q(x_t | x_0), q(x_s | x_t, x_0) and q(x_1), in terms of alpha: the signal kept at each position."""

    @abstractmethod
    def noise(self, source: DrawSource, key: str | int, positions: int) -> Tensor:
        """The noise that one corruption or one reverse step of a batch consumes."""

    @abstractmethod
    def prior(self, noise: Tensor) -> Tensor:
        """A draw from q(x_1)."""

    @abstractmethod
    def corrupt(self, x0: Tensor, alpha: Float[Tensor, "B #L"], noise: Tensor) -> Tensor:
        """A draw from q(x_t | x_0)."""

    @abstractmethod
    def posterior(
        self, x_t: Tensor, x0_hat: Tensor, alpha_t: Float[Tensor, "B #L"], alpha_s: Float[Tensor, "B #L"]
    ) -> Distribution:
        """q(x_s | x_t, x_0) with x_0 replaced by an estimate, s < t."""

"""A fixed piece of work whose time tells whether a machine keeps its pace: a product of matrices and a step of a small model."""

from collections.abc import Callable

_SIZE, _WIDTH, _ROWS, _LENGTH = 256, 64, 4, 32


class CanaryKernel:
    """The same work on every call, on one device; built on the first.

    Args:
        device: torch device.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._work: Callable[[], object] | None = None

    def __call__(self) -> None:
        """Do it."""
        self._work = self._work or self._built()
        self._work()

    def _built(self) -> Callable[[], object]:
        import torch

        generator = torch.Generator().manual_seed(0)
        matrix = torch.randn(_SIZE, _SIZE, generator=generator).to(self.device)
        with torch.random.fork_rng(devices=[]):
            layer = torch.nn.TransformerEncoderLayer(_WIDTH, 4, 4 * _WIDTH, dropout=0.0, batch_first=True).to(self.device).eval()
        x = torch.randn(_ROWS, _LENGTH, _WIDTH, generator=generator).to(self.device)

        @torch.no_grad()
        def work() -> object:
            return matrix @ matrix, layer(x)

        return work

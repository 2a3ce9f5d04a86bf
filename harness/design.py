"""The design of a system: the axes along which text generators differ, as one declarative record.

`harness list models` prints these records; `harness plan` decides from them which cells make sense.
"""

from dataclasses import dataclass
from typing import Literal

Family = Literal["ucg", "a2t", "t2t"]
FAMILIES: tuple[Family, ...] = ("ucg", "a2t", "t2t")
Grain = Literal["sequence", "position", "content"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """What a system is, in the field's own terms.

    Attributes:
        name: registered name, with the variant where there is one ("d3pm", "d3pm-uniform").
        version: raised whenever a change can move a number of this system; part of every key.
        sampler_version: raised instead where a change moves samples and nothing that is trained: trainings and bounds stay good.
        kind: how text comes about: "diffusion", "autoregressive", "floor" (no learning worth the name), "oracle" (knows the
            law), "imported" (somewhere else) or "pretrained" (not at all: others begin with its weights).
        families: what it can be asked for.
        space: where x lives; `None` outside diffusion.
        kernel: how x is corrupted; `None` outside diffusion.
        schedule: the paper's own schedule as a specification string ("sqrt@2000"); `None` when nothing is scheduled.
        grains: schedule grains the system can bear; a swap to another grain is a skipped cell.
        closed_form: whether only schedules without steps will do.
        chain: number of steps T of the training chain; `None` for continuous time or no chain.
        predicts: what the network estimates ("x0", "next token").
        conditioning: how a source or control enters.
        posterior: reverse posterior, "mixture" of q(x_s | x_t, x0) over x0, "joint" of q(x_s, x_t | x0) over x0, or "plug-in"
            of one estimate.
        last_step: what the last reverse step does ("argmax", "sample", "round").
        variance: variance of Gaussian reverse steps.
        unmasking: "independent", "exact-count", "one by one", or the order that decides what is written first
            ("low-confidence"); absorbing kernels only.
        equal_parts: parts of a text, written one after the other, among which steps are divided equally.
        temperature: whether its law can be sharpened or flattened: log-probabilities of x0 over a temperature in every reverse
            step. Autoregressive models always can.
        clamping: whether estimates are snapped to the nearest embedding: at every step, at none, or at which.
        time_input: what the network is told about time.
        loss_mask: positions whose loss counts.
        length: how a text gets its length.
        tokenizer: "task" for the task's own, else the name of the one the system brings.
        snr_range: (lowest, highest) signal-to-noise ratio alpha_bar / (1 - alpha_bar) that it can bear; `None` = any,
            and as an end, no limit there.
        likelihood: "exact", "bound" or `None`.
        scored_grains: schedule grains on which it has that likelihood; `None` = all that it can bear.
        reconstructed: True where no complete description was at hand.
        paper: citation key (arXiv identifier) of the system.
    """

    name: str
    version: int = 1
    sampler_version: int = 1
    kind: Literal["diffusion", "autoregressive", "floor", "oracle", "imported", "pretrained"]
    families: tuple[Family, ...]
    space: str | None = None
    kernel: str | None = None
    schedule: str | None = None
    grains: tuple[Grain, ...] = ()
    closed_form: bool = False
    chain: int | None = None
    predicts: str = "x0"
    conditioning: str = "none"
    posterior: Literal["mixture", "joint", "plug-in"] | None = None
    last_step: str | None = None
    variance: str | None = None
    unmasking: str | None = None
    equal_parts: int = 1
    temperature: bool = False
    clamping: bool | str = False
    time_input: str | None = None
    loss_mask: str = "all positions, padding included"
    length: str = "generated padding"
    tokenizer: str = "task"
    snr_range: tuple[float | None, float | None] | None = None
    likelihood: Literal["exact", "bound"] | None = None
    scored_grains: tuple[Grain, ...] | None = None
    reconstructed: bool = False
    paper: str | None = None

    @property
    def uses_schedule(self) -> bool:
        """Whether the schedule and steps axes of a grid mean anything to this system."""
        return self.schedule is not None

    @property
    def is_trained(self) -> bool:
        """Whether it is a network that learns: what spends a budget, is worth timing, and knows number formats."""
        return self.kind in ("diffusion", "autoregressive")

    def likelihood_on(self, grain: Grain | None) -> Literal["exact", "bound"] | None:
        """The likelihood that it has on schedules of a grain.

        Args:
            grain: of the schedule; `None` where nothing is scheduled.
        """
        return self.likelihood if self.scored_grains is None or grain in self.scored_grains else None

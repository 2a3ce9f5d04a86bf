"""Profiles: how much is generated and measured, from a quick look to a publication."""

from dataclasses import dataclass

from harness.design import Family
from harness.errors import UnknownName


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Sizes of one profile.

    Attributes:
        ucg: unconditional texts.
        a2t: (control targets, samples per target).
        t2t: sources; `None` takes the whole test split.
        t2t_least: fewer sources than this are not ranked.
        seeds: training seeds below which a row is not ranked.
        mauve_seeds: k-means seeds of MAUVE; 0 refuses it.
        latency_requests: timed requests at batch 1, and timed batches.
        latency_seconds: least measured seconds per system and scenario.
        latency_tries: passes at most, where the machine was not steady.
        warmup_cap: warm-up runs at most.
        highest_percentile: largest latency percentile that may be shown.
        ranked: whether rows of this profile may be ranked.
        resamples: bootstrap resamples.
        diversity_tokens: tokens of one block for distinct-n.
    """

    name: str
    ucg: int
    a2t: tuple[int, int]
    t2t: int | None
    t2t_least: int = 0
    seeds: int = 1
    mauve_seeds: int
    latency_requests: int
    latency_seconds: float = 0.0
    latency_tries: int = 1
    warmup_cap: int = 20
    highest_percentile: int
    ranked: bool
    resamples: int = 2000
    diversity_tokens: int = 1000

    def size(self, family: Family) -> tuple[int | None, int]:
        """(test items, candidates for each) of a family; `None` takes the whole test split."""
        return {"ucg": (self.ucg, 1), "a2t": self.a2t, "t2t": (self.t2t, 1)}[family]


PROFILES = {
    item.name: item
    for item in (
        Profile(
            name="smoke", ucg=512, a2t=(64, 4), t2t=256, mauve_seeds=1,
            latency_requests=8, warmup_cap=8, highest_percentile=50, ranked=False,
        ),
        Profile(
            name="test", ucg=16, a2t=(8, 2), t2t=16, mauve_seeds=0,
            latency_requests=2, warmup_cap=3, highest_percentile=50, ranked=False, resamples=200, diversity_tokens=100,
        ),
        Profile(
            name="quick", ucg=1000, a2t=(100, 5), t2t=500, mauve_seeds=3,
            latency_requests=64, latency_seconds=10.0, latency_tries=2, highest_percentile=90, ranked=False,
        ),
        Profile(
            name="publish", ucg=5000, a2t=(200, 10), t2t=None, t2t_least=1000, seeds=3, mauve_seeds=5,
            latency_requests=400, latency_tries=2, highest_percentile=99, ranked=True,
        ),
    )
}  # fmt: skip


def profile(name: str) -> Profile:
    """The profile of a name.

    Raises:
        UnknownName: there is none.
    """
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name]

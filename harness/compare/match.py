"""Systems with steps held against an autoregressive one at equal quality and at equal FLOPs.

Quality-matched: the time that a system needs to reach the baseline's score, at the fastest of its settings that reach it, over
the baseline's time. Compute-matched: by how much a setting is better than the baseline at no more FLOPs. Nothing is interpolated
between settings. Values are drawn again as `harness.compare.draws` says, and all systems share the draws of items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from harness.compare.draws import SURE, Picks, is_timed, latency_draws, quality_draws
from harness.compare.oracles import field
from harness.compare.selection import by_place, finished, has_value, headline_with_an_end, settings_of, title_of, why_absent
from harness.compare.settings import Setting, flops_of, seeds_of, why_uncounted, why_untimed
from harness.compare.systems import incomparable
from harness.errors import GridError, UnknownName
from harness.leaderboard import bare, lower_is_better
from harness.stats.intervals import Interval, percentile
from harness.tracking.projection import rows as rows_of
from harness.tracking.records import Store
from harness.tracking.rows import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """When a system reaches the baseline's quality.

    Attributes:
        seeds: of its timed settings.
        steps: its timed settings, ascending.
        reaching: those that reach it by their measured means.
        share: of the draws in which any of them reaches it.
        ratio: its time over the baseline's, median over the draws in which it is reached, at the fastest setting that reaches
            it in each; `None` where `share` is below `SURE`, since the rest has no time.
        interval: 95 %, over the same draws; `None` with `ratio`.
        greyed: why one of the latencies behind it is not to be relied on; empty where all are.
    """

    model: str
    schedule: str | None
    decode: str
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    reaching: tuple[int, ...]
    share: float
    ratio: float | None
    interval: Interval | None
    greyed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """A setting of a system beside the baseline at no more FLOPs.

    Attributes:
        flops: per request.
        baseline: the baseline's setting, its best that takes no more FLOPs; `None` where all take more, or theirs is not known.
        ratio: FLOPs over that setting's.
        difference: in quality, setting less baseline, turned so that above 0 is better; `None` with `reason`.
        interval: 95 %.
    """

    model: str
    schedule: str | None
    decode: str
    steps: int
    seeds: tuple[int, ...]
    flops: float
    baseline: str | None = None
    ratio: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """The systems of one task and family beside one autoregressive model.

    Attributes:
        metric: quality.
        baseline: the autoregressive model; `None` where none is finished here.
        reference: its best timed setting, whose score is to be reached; `None` where none was timed.
        quality: of the reference.
        milliseconds: median latency of a request to the reference.
        device: on which that was measured.
        greyed: why that is not to be relied on; empty where it is.
        reached: systems that were timed there too.
        levels: settings whose FLOPs are known.
        left_out: settings that are missing in one of these, and why.
        flags: how the FLOPs were counted.
    """

    task: str
    family: str
    metric: str
    higher_is_better: bool
    baseline: str | None
    reference: str | None = None
    quality: float | None = None
    milliseconds: float | None = None
    device: str | None = None
    greyed: tuple[str, ...] = ()
    reached: tuple[Reached, ...] = ()
    levels: tuple[Level, ...] = ()
    left_out: Mapping[str, str]
    flags: tuple[str, ...] = ()


def matches(
    store: Store, metric: str | None = None, *, baseline: str | None = None, grid: str | None = None, task: str | None = None,
    family: str | None = None, seed: int = 0,
) -> list[Match]:  # fmt: skip
    """Every task and family that has systems with steps.

    Args:
        store: where the cells are.
        metric: a value with a better end; `None` takes each family's first headline that has one.
        baseline: an autoregressive model, label or bare name; `None` takes the first of each task and family.
        grid, task, family: as in `harness table`.
        seed: of the draws.

    Raises:
        UnknownName: no finished cell has such a value with a better end, or is of such an autoregressive model.
        GridError: no autoregressive model or no system with steps is finished, nothing was timed and no FLOPs are known, or two
            cells of one system and seed stand side by side.
    """
    rows = finished(rows_of(store, grid), metric, "match", task=task, family=family)
    _require(rows, baseline)
    found = []
    for (place, kind), group in sorted(by_place(rows).items()):
        name = metric or headline_with_an_end(group, kind)
        if name is not None and any(row.steps is not None and has_value(row, name) for row in group):
            found.append(_Section(store, group, name, _baseline(group, baseline), seed).match(place, kind))
    if not found:
        raise GridError("match: no finished cell with a number of steps has a value with a better end.")
    return found


def _is_autoregressive(row: Row) -> bool:
    return field(row, "kind") == "autoregressive"


def _require(rows: Sequence[Row], baseline: str | None) -> None:
    """What cannot be matched at all.

    Raises:
        UnknownName: no finished cell is of such an autoregressive model.
        GridError: nothing was timed and no FLOPs are known, or no autoregressive model is finished.
    """
    known = {row.model for row in rows if _is_autoregressive(row)}
    if not known:
        raise GridError(
            "match: no autoregressive model is finished here. Add one to the grid, such as gpt or seq2seq, and run it again."
        )
    if baseline is not None and not any(baseline in (name, bare(name)) for name in known):
        raise UnknownName("autoregressive model", baseline, known, "match")
    if not any(is_timed(row) or flops_of(row) is not None for row in rows):
        raise GridError(
            "match: no finished cell was timed, and no FLOPs are known; grids time theirs unless they say `latency: false`."
        )


def _baseline(rows: Sequence[Row], name: str | None) -> str | None:
    """The autoregressive model of a task and family; `None` without one.

    Raises:
        GridError: a bare name stands for several.
    """
    models = list(dict.fromkeys(row.model for row in rows if _is_autoregressive(row)))
    if name is None or name in models:
        return name or next(iter(models), None)
    found = [model for model in models if bare(model) == name]
    if len(found) > 1:
        raise GridError(f"match: --baseline {name!r} stands for {' and '.join(map(repr, found))}. Say which.")
    return found[0] if found else None


class _Section:
    """One task and family while it is read."""

    def __init__(self, store: Store, rows: Sequence[Row], metric: str, baseline: str | None, seed: int) -> None:
        self.metric, self.baseline, self.lower = metric, baseline, bool(lower_is_better(rows, metric))
        self.rng = np.random.default_rng(seed)
        self.left_out: dict[str, str] = {}
        standing = [row for row in rows if row.model == baseline or row.steps is not None]
        found = [self._setting(store, group) for group in settings_of(standing, "match", _cell)]
        settings = [setting for setting in found if setting is not None]
        self.own = [setting for setting in settings if setting.row.model == baseline]
        self.others = _by_system([setting for setting in settings if setting.row.model != baseline])
        self.goodness = self._goodness([*self.own, *self.others]) if self.own else {}

    def _setting(self, store: Store, rows: Sequence[Row]) -> Setting | None:
        """A setting; `None` where a cell lacks the value."""
        if all(has_value(row, self.metric) for row in rows):
            return Setting(store, rows, self.metric, self.lower)
        self._leave_out(title_of(rows[0]), f"no {self.metric}: {why_absent(rows, self.metric)}")
        return None

    def _leave_out(self, title: str, reason: str) -> None:
        self.left_out[title] = "; ".join(dict.fromkeys([*filter(None, [self.left_out.get(title)]), reason]))

    def _goodness(self, settings: Sequence[Setting]) -> dict[str, Float[np.ndarray, " R"]]:
        """Draws of every setting's quality, turned so that more is better, on the items of the baseline."""
        picks = Picks.of([setting.outcomes for setting in self.own], self.rng)
        return {
            setting.title: setting.sign * quality_draws(setting.outcomes, self.metric, picks, self.rng) for setting in settings
        }

    def match(self, task: str, family: str) -> Match:
        """All of it."""
        reached, levels, best = self.reached(), self.levels(), self.reference
        flags = (flag for setting in (*self.own, *self.others) for flag in setting.flags)
        return Match(
            task=task, family=family, metric=self.metric, higher_is_better=not self.lower, baseline=self.baseline,
            reference=best.name if best else None, quality=best.quality if best else None,
            milliseconds=best.milliseconds if best else None, device=best.device if best else None,
            greyed=best.greyed if best else (), reached=reached, levels=levels,
            left_out=self.left_out, flags=tuple(dict.fromkeys(flags)) if levels else (),
        )  # fmt: skip

    @cached_property
    def reference(self) -> Setting | None:
        """The baseline's best setting that was timed, the faster one of equals."""
        timed = [setting for setting in self.own if setting.timed]
        return max(timed, key=lambda setting: (setting.goodness, -(setting.milliseconds or 0.0)), default=None)

    # --- quality-matched -------------------------------------------------------------------------------------------
    def reached(self) -> tuple[Reached, ...]:
        """Every system that was timed where the reference was."""
        if self.reference is None:
            self._without_reference()
            return ()
        for setting in self.own:
            if not setting.timed:
                self._leave_out(setting.title, why_untimed(setting.rows))
        clock = latency_draws(self.reference.timed, self.rng)
        systems: dict[tuple[str, ...], list[Setting]] = {}
        for setting in self.others:
            reason = self._unmatched(setting, self.reference)
            if reason is None:
                systems.setdefault(setting.place, []).append(setting)
            else:
                self._leave_out(setting.title, reason)
        return tuple(self._reached(group, self.reference, clock) for group in systems.values())

    def _without_reference(self) -> None:
        """Says of all why nothing is matched in quality."""
        for setting in self.own:
            self._leave_out(setting.title, why_untimed(setting.rows))
        for setting in self.others if not self.own else ():
            self._leave_out(setting.title, "no autoregressive baseline with a value is finished here")

    def _unmatched(self, setting: Setting, reference: Setting) -> str | None:
        """Why a setting's time is not put over the reference's; `None` where it is."""
        if not setting.timed:
            return why_untimed(setting.rows)
        if setting.device != reference.device:
            return f"timed on {setting.device}, the baseline on {reference.device}"
        return incomparable(reference.outcomes, setting.outcomes, self.metric)

    def _reached(self, settings: Sequence[Setting], reference: Setting, clock: Float[np.ndarray, " R"]) -> Reached:
        """One system: in every draw the fastest of its settings that reach the reference."""
        good = np.stack([self.goodness[setting.title] for setting in settings])
        times = np.stack([latency_draws(setting.timed, self.rng) for setting in settings])
        times = np.where(good >= self.goodness[reference.title], times, np.inf)
        reached = np.isfinite(times).any(0)
        share, ratios = float(reached.mean()), (times.min(0) / clock)[reached]
        taken = [settings[place] for place in np.unique(times.argmin(0)[reached]).tolist()]
        first, known = settings[0].row, share >= SURE
        return Reached(
            model=first.model, schedule=first.schedule, decode=first.decode, seeds=seeds_of(settings),
            steps=tuple(setting.steps for setting in settings),
            reaching=tuple(setting.steps for setting in settings if setting.goodness >= reference.goodness),
            share=share, ratio=float(np.median(ratios)) if known else None, interval=percentile(ratios) if known else None,
            greyed=tuple(dict.fromkeys(reason for setting in (reference, *taken) for reason in setting.greyed)),
        )  # fmt: skip

    # --- compute-matched -------------------------------------------------------------------------------------------
    def levels(self) -> tuple[Level, ...]:
        """Every setting whose FLOPs are known."""
        if not self.own:
            return ()
        known = [setting for setting in self.others if setting.flops is not None]
        for setting in (*self.own, *self.others):
            if setting.flops is None:
                self._leave_out(setting.title, why_uncounted(setting.rows))
        return tuple(self._level(setting) for setting in known)

    def _level(self, setting: Setting) -> Level:
        row, flops = setting.row, float(setting.flops or 0.0)
        best, reason = self._affordable(flops)
        reason = reason or (incomparable(best.outcomes, setting.outcomes, self.metric) if best else None)
        draws = self.goodness[setting.title] - self.goodness[best.title] if best and not reason else None
        return Level(
            model=row.model, schedule=row.schedule, decode=row.decode, steps=setting.steps, seeds=seeds_of([setting]),
            flops=flops, baseline=best.name if best else None, ratio=flops / best.flops if best and best.flops else None,
            difference=setting.goodness - best.goodness if best and draws is not None else None,
            interval=percentile(draws) if draws is not None else None, reason=reason,
        )  # fmt: skip

    def _affordable(self, flops: float) -> tuple[Setting | None, str | None]:
        """The baseline's best setting that takes no more FLOPs, the cheaper one of equals; else why there is none."""
        known = [(setting.flops, setting) for setting in self.own if setting.flops is not None]
        if not known:
            return None, "the baseline's FLOPs are not known"
        able = [(count, setting) for count, setting in known if count <= flops]
        if not able:
            return None, f"the baseline takes {min(count for count, _ in known) / flops:.3g} times its FLOPs"
        return max(able, key=lambda item: (item[1].goodness, -item[0]))[1], None


def _cell(row: Row) -> str:
    return f"{title_of(row)}, seed {row.seed}"


def _by_system(settings: Sequence[Setting]) -> list[Setting]:
    """Systems in their order, the settings of each by steps."""
    places = {place: number for number, place in enumerate(dict.fromkeys(setting.place for setting in settings))}
    return sorted(settings, key=lambda setting: (places[setting.place], setting.steps))

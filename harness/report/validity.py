"""How metrics track the truth, as text, as plain objects and as plots."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.compare.validity import Tracking
from harness.report.escape import code_cell
from harness.report.export import grid_of_text, number
from harness.report.figures import Drawing, save

_SURE = 0.9
_COLUMNS = 4
_LEGEND = (
    "Levels, and what they do to the law of texts: TV, its total variation from the true one; errors, share of texts outside the "
    "language; copies, share of texts copied on purpose; coverage, share of the law that can still come."
)


def as_record(tracking: Tracking) -> dict[str, Any]:
    """A tracking as plain objects."""
    return asdict(tracking)


def as_text(trackings: Sequence[Tracking]) -> str:
    """One section for each task: what sees which distortion, from where on, and with how many items."""
    return "\n".join(_section(task, found) for task, found in _by(trackings, "task").items())


def _by(trackings: Sequence[Tracking], name: str) -> dict[str, list[Tracking]]:
    groups: dict[str, list[Tracking]] = {}
    for found in trackings:
        groups.setdefault(getattr(found, name), []).append(found)
    return groups


def _section(task: str, trackings: Sequence[Tracking]) -> str:
    distortions = list(_by(trackings, "distortion"))
    table = {(found.metric, found.distortion): found for found in trackings}
    metrics = sorted(_by(trackings, "metric"))
    tables = [
        (
            "Rank correlation of the value's badness with the true total variation: 1 tracks, 0 does not see, below 0 misleads; "
            "empty with two levels only, and where all levels look alike.",
            _correlation,
        ),
        (f"Least level that looks worse than level 0 in {_SURE:.0%} of the pairs of seeds; empty where none does.", _least),
        ("Neighbouring levels in the wrong order, share of the pairs of seeds; one half is chance.", _misordered),
    ]
    lines = [f"## {code_cell(task)}: how values track the truth", "", _LEGEND, "", *_levels(trackings), ""]
    for title, cell in tables:
        body = [
            (code_cell(metric), *(cell(table[metric, name]) if (metric, name) in table else "" for name in distortions))
            for metric in metrics
        ]
        told = any(text for _, *row in body for text in row)
        lines += [title, "", *(grid_of_text(("value", *map(code_cell, distortions)), body) if told else ["none"]), ""]
    lines += ["At level 0, where there is nothing to see:", "", *_plain(trackings), ""]
    lines += ["Items at which the largest level is seen; only values whose items were kept:", "", *_power(trackings)]
    return "\n".join(lines).rstrip() + "\n"


def _levels(trackings: Sequence[Tracking]) -> list[str]:
    """What each level does to the law."""
    firsts = {name: found[0] for name, found in _by(trackings, "distortion").items()}
    return [
        f"- {code_cell(name)}: " + "; ".join(f"{point.level:g}: {_truth(point.truth)}" for point in found.points[1:])
        for name, found in firsts.items()
    ]


def _truth(truth: Mapping[str, float]) -> str:
    named = {"total_variation": "TV", "error_rate": "errors", "memorised": "copies"}
    said = [f"{short} {number(truth[name], 2)}" for name, short in named.items() if truth.get(name)]
    return (
        ", ".join([*said, *([f"coverage {number(truth['coverage'], 2)}"] if truth.get("coverage", 1.0) < 1 else [])]) or "nothing"
    )


def _correlation(found: Tracking) -> str:
    return "" if found.rank_correlation is None else f"{found.rank_correlation:.2f}"


def _least(found: Tracking) -> str:
    """The least level from which on every level is seen."""
    blind = [place for place, point in enumerate(found.points[1:]) if point.seen is None or point.seen < _SURE]
    after = blind[-1] + 2 if blind else 1
    return f"{found.points[after].level:g}" if after < len(found.points) else ""


def _misordered(found: Tracking) -> str:
    return f"{found.misordered:.2f}"


def _plain(trackings: Sequence[Tracking]) -> list[str]:
    firsts = [found[0] for _, found in sorted(_by(trackings, "metric").items())]
    end = {True: "higher", False: "lower", None: ""}
    body = [
        (code_cell(found.metric), number(found.points[0].mean), number(found.noise, 2), end[found.higher_is_better])
        for found in firsts
    ]
    return grid_of_text(("value", "mean over seeds", "standard deviation", "better"), body)


def _power(trackings: Sequence[Tracking]) -> list[str]:
    kept = [found for found in trackings if found.points[-1].seen_at]
    sizes = sorted({size for found in kept for size in found.points[-1].seen_at})
    body = [
        (
            code_cell(found.metric), code_cell(found.distortion), f"{found.points[-1].level:g}",
            *(f"{found.points[-1].seen_at[size]:.2f}" if size in found.points[-1].seen_at else "" for size in sizes),
        )
        for found in sorted(kept, key=lambda found: (found.metric, found.distortion))
    ]  # fmt: skip
    return grid_of_text(("value", "distortion", "level", *map(str, sizes)), body) if body else ["none"]


def plot(trackings: Sequence[Tracking], folder: Path) -> list[Path]:
    """One SVG for each task: a panel for each value, its mean and range over seeds against the true total variation.

    Raises:
        HarnessError: matplotlib is not installed.
    """
    return save([_drawing(task, found) for task, found in _by(trackings, "task").items()], folder)


def _drawing(task: str, trackings: Sequence[Tracking]) -> Drawing:
    metrics = _by(trackings, "metric")
    rows = -(-len(metrics) // _COLUMNS)
    colours = {name: f"C{place}" for place, name in enumerate(sorted(_by(trackings, "distortion")))}

    def draw(figure: Any) -> None:
        lines: dict[str, Any] = {}
        for place, (metric, found) in enumerate(sorted(metrics.items()), start=1):
            lines |= _panel(figure.add_subplot(rows, _COLUMNS, place), metric, found, colours)
        figure.legend(
            [lines[name] for name in colours], list(colours), loc="outside upper center", ncols=8, fontsize=7, frameon=False
        )

    return Drawing(task, (3.2 * _COLUMNS, 2.5 * rows + 0.3), draw)


def _panel(axes: Any, metric: str, trackings: Sequence[Tracking], colours: Mapping[str, str]) -> dict[str, Any]:
    """One value; the line of each distortion, which has one colour in all panels."""
    lines = {}
    for found in trackings:
        colour, x = colours[found.distortion], [point.truth["total_variation"] for point in found.points]
        (lines[found.distortion],) = axes.plot(x, [point.mean for point in found.points], marker=".", linewidth=1, color=colour)
        low, high = ([end(point.values) for point in found.points] for end in (min, max))
        axes.fill_between(x, low, high, alpha=0.15, color=colour, linewidth=0)
    axes.set_title(metric, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("true total variation", fontsize=7)
    return lines

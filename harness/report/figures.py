"""Plots as SVG files: the same bytes for the same drawing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


@dataclass(frozen=True, slots=True)
class Drawing:
    """One plot.

    Attributes:
        name: of its file, where every character other than letters, digits, "-" and "_" becomes "_".
        size: width and height in inches.
        draw: puts it on an empty `matplotlib.figure.Figure`.
    """

    name: str
    size: tuple[float, float]
    draw: Callable[[Any], None]


def save(drawings: Iterable[Drawing], folder: Path) -> list[Path]:
    """Write one SVG for each.

    Raises:
        HarnessError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise HarnessError("plots need matplotlib, which comes with mlflow. Say: pip install matplotlib.") from None
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for drawing in drawings:
        figure = Figure(figsize=drawing.size, layout="constrained")
        drawing.draw(figure)
        path = folder / f"{''.join(letter if letter.isalnum() or letter in '-_' else '_' for letter in drawing.name)}.svg"
        with matplotlib.rc_context({"svg.hashsalt": drawing.name}):
            FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None})
        paths.append(path)
    return paths

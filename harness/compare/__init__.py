"""Two systems of a store beside each other, item by item: which differences are real, and where they are largest."""

from harness.compare.systems import Differing, Line, Report, compare_systems

__all__ = ["Differing", "Line", "Report", "compare_systems"]

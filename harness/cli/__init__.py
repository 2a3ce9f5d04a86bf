"""The command line: plan and run grids; read, compare and rank results; score and import texts; list and check what there is.

Heavy libraries are imported by the commands that need them, so that `harness --help` is instant.
"""

from harness.cli import grids, results, outputs, parts  # isort: skip  # noqa: F401 - each adds its commands, in the order of the help
from harness.cli.application import app, main

__all__ = ["app", "main"]

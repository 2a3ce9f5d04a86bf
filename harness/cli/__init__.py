"""The command line: `harness plan | run | table | compare | rank | score | items | import | list | ui | publish | data | check`.

Heavy libraries are imported by the commands that need them, so that `harness --help` is instant.
"""

from harness.cli import grids, results, outputs, parts  # isort: skip  # noqa: F401 - each adds its commands, in the order of the help
from harness.cli.application import app, main

__all__ = ["app", "main"]

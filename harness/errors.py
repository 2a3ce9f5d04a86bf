"""Errors that the harness raises on purpose.

* HarnessError
  * GridError          a grid file that cannot be run as written
    * UnknownName      a name that nothing is registered under
    * IncompatibleCell a cell that its model or task refuses (becomes a skipped row)
  * DataError          a data file that is missing or is not what its checksum says
  * StoreError         a store that cannot be read or written
  * OutputsError       texts from elsewhere, or their references, that cannot be read or paired
  * ModelError         an adapter that breaks its contract
  * MeasurementRefused a metric that declines to give a number (becomes an absent value with a reason)
  * PublishError       a tracking server that cannot be written

Messages say what was given, what was expected and what to do.
"""

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class HarnessError(Exception):
    """Base of every error that a user can repair; the command line prints it without a traceback."""


class GridError(HarnessError, ValueError):
    """A grid file that cannot be run as written."""


class UnknownName(GridError):
    """A name that nothing is registered under."""

    def __init__(self, noun: str, name: str, known: Iterable[str], where: str = "") -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(item) for item in near)}?" if near else ""
        place = f"{where}: " if where else ""
        super().__init__(f"{place}unknown {noun} {name!r}.{hint} Known: {', '.join(known) or 'none'}.")
        self.noun, self.name, self.near = noun, name, near


class IncompatibleCell(GridError):
    """A combination that a model or a task refuses; the cell becomes a skipped row with this reason."""


class DataError(HarnessError):
    """A data file that is missing or is not what its checksum says."""


class StoreError(HarnessError):
    """A store that cannot be read or written."""


class OutputsError(HarnessError):
    """Texts from elsewhere, or their references, that cannot be read or paired."""


class ModelError(HarnessError):
    """An adapter that breaks its contract: wrong number of texts, NaN, an untrained model asked to generate."""


class MeasurementRefused(HarnessError):
    """A metric declines to give a number; the row shows an absent value and this reason."""


class PublishError(HarnessError):
    """A tracking server that cannot be written."""


def told(error: BaseException) -> str:
    """An error in one line: its class and what it says; where it is none of ours, also the last line of own code before it.

    Own code is neither Python's nor an installed package's; lines of those are named where there is no other.
    """
    said = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, HarnessError) or not frames:
        return said
    foreign = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "<"
    own = [frame for frame in frames if not frame.filename.startswith(foreign)] or list(frames)
    return f"{said} ({Path(own[-1].filename).name}:{own[-1].lineno}, in {own[-1].name})"

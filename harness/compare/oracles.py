"""Which oracle a system is held against: the one that samples as it does, so that only their estimates differ."""

import json
import re
from collections.abc import Iterable
from typing import Any

from harness.tracking.rows import Row

_MUTUAL_INFORMATION = re.compile(r"^mutual-information(?=@|$)")


def field(row: Row, name: str) -> Any:
    """A field of a row's design; `None` where it has none."""
    return (row.settings.get("design") or {}).get(name)


def is_denoiser(row: Row) -> bool:
    """Whether a row is of an oracle that writes in steps."""
    return field(row, "kind") == "oracle" and row.steps is not None


def is_exact(row: Row) -> bool:
    """Whether a row draws from the law itself: an oracle without steps that knows its own likelihood."""
    return (field(row, "kind"), row.steps, field(row, "likelihood")) == ("oracle", None, "exact")


def has_process(row: Row) -> bool:
    """Whether a row is of a system that an oracle could stand beside."""
    return field(row, "kernel") is not None and field(row, "kind") != "oracle"


def process(row: Row) -> tuple[Any, ...]:
    """How texts come about, whatever estimates them: space, kernel, rule of unmasking, schedule, decoding, steps."""
    decode = json.dumps(row.settings.get("decode"), sort_keys=True)
    return *(field(row, name) for name in ("space", "kernel", "unmasking")), law(row), decode, row.steps


def law(row: Row) -> str | None:
    """The schedule as built, by one name.

    What a mask leaves of the information is alpha-bar, so that mutual information is linear alpha-bar there (D3PM, arXiv
    2107.03006, section 3).
    """
    built = row.settings.get("schedule") or row.schedule
    return _MUTUAL_INFORMATION.sub("linear-alpha-bar", built) if built and field(row, "kernel") == "absorbing" else built


def oracle_for(row: Row, oracles: Iterable[Row]) -> Row | None:
    """An oracle that samples as a system does, rather one with the same last step; `None` without one."""
    if not has_process(row):
        return None
    alike = [oracle for oracle in oracles if process(oracle) == process(row)]
    return min(alike, key=lambda oracle: field(oracle, "last_step") != field(row, "last_step"), default=None)


def remark_on(row: Row, oracle: Row | None) -> str | None:
    """In what a system differs from its oracle all the same, or that it has none; `None` where there is nothing to say."""
    if oracle is None:
        sought = ("kernel", field(row, "kernel")), ("unmasking", field(row, "unmasking")), ("schedule", law(row))
        return f"no oracle with {', '.join(f'{name} {value}' for name, value in sought if value)}, its steps and its decoding"
    own, other = field(row, "last_step"), field(oracle, "last_step")
    return None if own == other else f"its last step is {own}, that of its oracle {other}: the learning error holds that too"

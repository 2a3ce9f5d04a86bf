"""How the parts of a cell are written in keys: what changes a result, and nothing else."""

from dataclasses import asdict
from functools import cache
from typing import Any

from harness.design import Design
from harness.grid.expansion import Cell
from harness.grid.schema import DecodeEntry
from harness.schedules.names import SchedulePlan


@cache
def sampling_of(decode: DecodeEntry, steps: int | None) -> dict[str, Any]:
    """How samples are drawn; how many share a micro-batch moves none of them."""
    settings = asdict(decode.sampling(steps))
    del settings["micro_batch"]
    return settings


@cache
def decoding_of(decode: DecodeEntry) -> dict[str, Any]:
    """A decoding without its name."""
    return decode.model_dump(exclude={"name"})


def sampler_of(design: Design) -> dict[str, int]:
    """What a key says of a changed sampler; nothing of a first one, so that keys stay what they were."""
    return {"sampler": design.sampler_version} if design.sampler_version > 1 else {}


@cache
def schedule_of(schedule: SchedulePlan) -> str:
    """A schedule with its parameters."""
    return schedule.key


def bare(name: str) -> str:
    """A plug-in's name without the folder of its file: where a file lies changes no result, and its content is in the origin."""
    return name.rpartition("/")[2]


def selection_of(cell: Cell) -> dict[str, Any]:
    """How one of several candidates is chosen."""
    from harness.decoding import MBR_UTILITY, VERSION

    if cell.decode.select == "first":
        return {"select": "first"}
    return {"select": cell.decode.select, "utility": MBR_UTILITY, "version": VERSION}

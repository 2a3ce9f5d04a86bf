"""What this machine has, and whether a stage asks for more."""

import hashlib
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from harness.errors import GridError
from harness.runner.stage import Stage


def check_machine(stages: Iterable[Stage], *, cpus: int, memory: float) -> None:
    """Refuse stages that ask for more than this machine has.

    Args:
        stages: with their resources.
        cpus: CPUs that this process may use.
        memory: GiB of main memory.

    Raises:
        GridError: names the kind, what it asks for and what there is.
    """
    asked = {stage.kind: stage.resources for stage in stages}
    gpus = gpu_count() if any(resources.gpus for resources in asked.values()) else 0
    for kind, resources in asked.items():
        offered = {"cpus": cpus, "gpus": gpus, "memory": memory}
        for name, there in offered.items():
            wanted = getattr(resources, name)
            if wanted is not None and wanted > there:
                raise GridError(
                    f"resources: a {kind} stage asks for {name} {wanted:g}, this machine has {there:g}. Ask for less, or name a "
                    "cluster that has it."
                )


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_memory() -> float:
    """Main memory in GiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def gpu_count() -> int:
    """CUDA devices that this process sees."""
    import torch

    return torch.cuda.device_count()


def fingerprint(gpus: float = 0.0) -> str:
    """What a latency depends on in this machine: processor, number of CPUs, and its GPU where one is used."""
    parts = [platform.machine(), processor(), str(os.cpu_count())]
    return hashlib.sha256("|".join([*parts, _gpu_name() if gpus else "no gpu"]).encode()).hexdigest()[:16]


def processor() -> str:
    """Name of the CPU."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no gpu"


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, of the machine or of an accelerator."""
    torch = sys.modules.get("torch")
    known = isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))
    return known or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error))

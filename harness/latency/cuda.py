"""A CUDA device as a latency pass sees it: memory by torch; state, energy and processes by NVML (package `nvidia-ml-py`)."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.latency.devices import Device, Known

_MIB = 2**20


@dataclass
class Cuda(Device):
    """A whole GPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._nvml = _nvml()
        self._handle = self._ask("nvmlDeviceGetHandleByUUID", _uuid(self.name)) if self._nvml else None
        self._held = 0

    @property
    def description(self) -> str:
        """Name of the GPU."""
        import torch

        return torch.cuda.get_device_name(self.name)

    def _ask(self, function: str, *given: Any) -> Any:
        """An answer of NVML; `None` where this device has none."""
        with suppress(Exception):  # NVML raises one class for each of its codes; "not supported" is no error here
            return getattr(self._nvml, function)(*given)
        return None

    def _of_handle(self, function: str, *given: Any) -> Any:
        return None if self._handle is None else self._ask(function, self._handle, *given)

    def state(self) -> Mapping[str, Known]:
        """Clocks in MHz, temperature in degrees Celsius, power in watts, throttle reasons as NVML's bit mask, and versions."""
        power = self._of_handle("nvmlDeviceGetPowerUsage")
        found = {
            "sm_mhz": self._of_handle("nvmlDeviceGetClockInfo", 1), "memory_mhz": self._of_handle("nvmlDeviceGetClockInfo", 2),
            "celsius": self._of_handle("nvmlDeviceGetTemperature", 0), "watts": None if power is None else power / 1e3,
            "throttle": self._of_handle("nvmlDeviceGetCurrentClocksThrottleReasons"),
            "driver": self._ask("nvmlSystemGetDriverVersion") if self._nvml else None,
        }  # fmt: skip
        return {**{name: value for name, value in found.items() if value is not None}, **_settings()}

    def others(self) -> str | None:
        """Processes on the GPU that are not ours."""
        listed = self._of_handle("nvmlDeviceGetComputeRunningProcesses")
        pids = {process.pid for process in listed or ()}
        # inside a container NVML tells the host's numbers: ours is then one of those we do not know
        foreign = pids - {os.getpid()} if os.getpid() in pids else set(sorted(pids)[1:])
        return f"{len(foreign)} other processes on the GPU" if foreign else None

    def joules(self) -> float | None:
        """The GPU's energy counter."""
        millijoules = self._of_handle("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def release(self) -> None:
        """Empty torch's cache."""
        import torch

        torch.cuda.empty_cache()

    def forget_peak(self) -> None:
        """Reset torch's own peak."""
        import torch

        torch.cuda.reset_peak_memory_stats(self.name)
        self._held = torch.cuda.memory_allocated(self.name)

    def peak_mib(self) -> Mapping[str, float]:
        """Allocated above what was held, reserved by torch, and used on the device by anybody."""
        import torch

        found = {
            "working": (torch.cuda.max_memory_allocated(self.name) - self._held) / _MIB,
            "reserved": torch.cuda.max_memory_reserved(self.name) / _MIB,
        }  # fmt: skip
        memory = self._of_handle("nvmlDeviceGetMemoryInfo")
        return found if memory is None else {**found, "device": memory.used / _MIB}


def _nvml() -> Any:
    with suppress(Exception):
        import pynvml

        pynvml.nvmlInit()
        return pynvml
    return None


def _uuid(name: str) -> str:
    import torch

    return f"GPU-{torch.cuda.get_device_properties(name).uuid}"


def _settings() -> dict[str, Known]:
    import torch

    return {
        "cuda": torch.version.cuda, "allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }  # fmt: skip

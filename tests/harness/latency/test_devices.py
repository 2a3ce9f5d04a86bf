"""What a CPU tells through the kernel's files, and a GPU through NVML; both are played here."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch

from harness.latency.canary_kernel import CanaryKernel
from harness.latency.cuda import Cuda
from harness.latency.devices import Cpu, Device, device_of
from harness.latency.stopwatch import CudaStopwatch, Stopwatch

TICK = os.sysconf("SC_CLK_TCK")


class Kernel:
    """A folder of /proc and the clock beside it."""

    def __init__(self, folder):
        self.folder, self.now, self.busy, self.stolen = folder, 100.0, 0.0, 0.0
        (folder / "self").mkdir()

    def tell(self):
        ticks = int(self.busy * TICK), int(self.stolen * TICK)
        line = f"{ticks[0]} 0 0 {int(self.now * TICK)} 7 0 0 {ticks[1]} 0 0"
        own = [f"cpu{index} {line if index == min(os.sched_getaffinity(0)) else '0 ' * 10}" for index in os.sched_getaffinity(0)]
        (self.folder / "stat").write_text("\n".join([f"cpu  {line}", *own, "cpu9999 99999 0 0 0 0 0 0 0 0 0", "intr 5"]))

    def device(self):
        self.tell()
        return Cpu("cpu", Stopwatch(), lambda: None, proc=self.folder, clock=lambda: self.now)


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path)


@pytest.mark.parametrize(
    ("busy", "stolen", "noticed"), [(0.0, 0.0, False), (0.2, 0.2, False), (5.0, 0.0, True), (0.0, 5.0, True)]
)
def test_cpu_time_of_others_is_noticed(kernel, busy, stolen, noticed):
    device = kernel.device()
    kernel.now, kernel.busy, kernel.stolen = kernel.now + 10, kernel.busy + busy, kernel.stolen + stolen
    kernel.tell()
    said = device.others()
    assert (said is not None) == noticed
    if noticed:
        assert said.startswith("others took 0.5 of")


def test_a_short_while_waits_for_more(kernel):
    device = kernel.device()
    kernel.now, kernel.busy = kernel.now + 0.4, 0.4
    kernel.tell()
    assert device.others() is None
    kernel.now, kernel.busy = kernel.now + 0.4, 0.8
    kernel.tell()
    assert device.others() is not None
    assert device.others() is None


def test_own_work_is_nobody_elses(kernel, monkeypatch):
    times = [0.0]
    monkeypatch.setattr(os, "times", lambda: (times[0], 0.0, 0.0, 0.0, 0.0))
    device = kernel.device()
    kernel.now, kernel.busy, times[0] = kernel.now + 10, 9.0, 8.9
    kernel.tell()
    assert device.others() is None


def test_a_machine_without_these_files_tells_nothing(tmp_path):
    device = Cpu("cpu", Stopwatch(), lambda: None, proc=tmp_path / "none", energy=tmp_path / "none")
    device.forget_peak()
    assert (device.others(), device.joules(), dict(device.peak_mib()), device.idle_watts(0.0)) == (None, None, {}, None)
    assert "mhz" not in device.state()


def test_memory_is_the_peak_above_what_was_held(kernel):
    device, status = kernel.device(), kernel.folder / "self" / "status"
    status.write_text("Name: x\nVmHWM:\t 9999 kB\nVmRSS:\t 2048 kB\n")
    assert device.peak_mib() == {}
    device.forget_peak()
    assert (kernel.folder / "self" / "clear_refs").read_text() == "5"
    status.write_text("VmHWM:\t 5120 kB\nVmRSS:\t 2048 kB\n")
    assert device.peak_mib() == {"working": 3.0}


def test_energy_of_all_packages_goes_on_where_a_counter_begins_anew(tmp_path):
    files = {}
    for index, value in enumerate((5_000_000, 9_000_000)):
        folder = tmp_path / f"intel-rapl:{index}"
        folder.mkdir()
        (folder / "max_energy_range_uj").write_text("10000000")
        files[index] = folder / "energy_uj"
        files[index].write_text(str(value))
    (tmp_path / "intel-rapl:0:0").mkdir()
    device = Cpu("cpu", Stopwatch(), lambda: None, energy=tmp_path)
    before = device.joules()
    files[0].write_text("6000000")
    files[1].write_text("1000000")
    assert device.joules() - before == pytest.approx(3.0)
    files[0].unlink()
    assert device.joules() is None


def test_of_a_plain_device_nothing_is_known():
    device = Device("cpu", canary=lambda: None)
    assert (device.others(), device.joules(), device.peak_mib(), device.state()) == (None, None, {}, {})


def test_the_canary_kernel_is_the_same_work_every_time_and_moves_no_random_state():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    kernel = CanaryKernel("cpu")
    kernel()
    first = kernel._work
    kernel()
    assert kernel._work is first
    assert torch.equal(torch.rand(1), expected)


@pytest.fixture
def nvml(monkeypatch):
    """A GPU whose driver tells everything."""
    told = SimpleNamespace(pids=[os.getpid()], energy=5_000, used=3 * 2**30)

    class NotSupported(Exception):
        pass

    def power(handle):
        raise NotSupported

    library = SimpleNamespace(
        nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=pid) for pid in told.pids],
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: told.energy, nvmlDeviceGetClockInfo=lambda handle, kind: 1000 + kind,
        nvmlDeviceGetTemperature=lambda handle, kind: 40, nvmlDeviceGetPowerUsage=power,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 4, nvmlSystemGetDriverVersion=lambda: "1.2",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=told.used),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda name: SimpleNamespace(uuid="abc"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda name: 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda name: 4 * 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda name: 8 * 2**20)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda name: None)
    return told


def gpu():
    return Cuda("cuda:0", CudaStopwatch(), lambda: None)


def test_a_gpu_tells_its_state_and_leaves_out_what_it_does_not_support(nvml):
    state = gpu().state()
    told = {"sm_mhz": 1001, "memory_mhz": 1002, "celsius": 40, "throttle": 4, "driver": "1.2"}
    assert told.items() <= state.items()
    assert "watts" not in state
    assert {"allow_tf32", "deterministic"} <= set(state)


@pytest.mark.parametrize(
    ("pids", "others"), [([], None), (["own"], None), ([7], None), (["own", 7], 1), ([7, 8], 1), (["own", 7, 8], 2)]
)
def test_other_processes_on_a_gpu_are_noticed(nvml, pids, others):
    nvml.pids = [os.getpid() if pid == "own" else pid for pid in pids]
    assert gpu().others() == (None if others is None else f"{others} other processes on the GPU")


def test_memory_and_energy_of_a_gpu(nvml):
    device = gpu()
    device.forget_peak()
    assert device.peak_mib() == {"working": 3.0, "reserved": 8.0, "device": 3 * 1024.0}
    before, nvml.energy = device.joules(), 7_500
    assert device.joules() - before == pytest.approx(2.5)


def test_without_nvml_a_gpu_still_tells_torchs_memory(nvml, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    device = gpu()
    device.forget_peak()
    assert (device.others(), device.joules(), device.idle_watts(0.0)) == (None, None, None)
    assert device.peak_mib() == {"working": 3.0, "reserved": 8.0}


def test_a_name_has_its_device():
    assert isinstance(device_of("cpu"), Cpu)

"""MLflow's own user interface, started for one store on the loopback address."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}  # fmt: skip
_READY_SECONDS = 90.0


def free_port() -> int:
    """A port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path, *, port: int) -> Iterator[str]:
    """Run MLflow's server while the block runs; gives its address once it answers.

    Args:
        folder: of the store, with its database `mlflow.db`; what the server says goes into `mlflow-server.log`.
        port: port on 127.0.0.1; nothing outside this machine reaches it.

    Raises:
        HarnessError: the port is taken, or the server does not come up.
    """
    _check_port(port)
    folder = folder.resolve()
    log = folder / "mlflow-server.log"
    database, artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "mlartifacts").as_uri()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--default-artifact-root", artifacts,
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **_ENVIRONMENT}, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, f"{address}/health", log)
            yield address
        finally:
            _stop(process)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise HarnessError(f"port {port} of 127.0.0.1 is taken; choose another with --port.") from error


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise HarnessError(f"MLflow's server ended with status {process.returncode}; it said (in {log}):\n{_tail(log)}")
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise HarnessError(f"MLflow's server did not answer within {_READY_SECONDS:.0f} s; it said (in {log}):\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and the workers that it started: they share its process group."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, 15)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()

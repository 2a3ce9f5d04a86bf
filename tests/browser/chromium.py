"""Drives a headless Chromium through its debugging pipe: standard library only."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

# Chromium reads commands from descriptor 3 and answers on descriptor 4.
_LAUNCH = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"


def find() -> str | None:
    """Path of a Chromium; `None` where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """One page of a headless browser.

    Args:
        width, height: of the window, in pixels.
    """

    def __init__(self, *, width: int = 2200, height: int = 1000) -> None:
        self._profile = tempfile.mkdtemp(prefix="harness-chromium-")
        near, self._write = os.pipe()
        self._read, far = os.pipe()
        from_us, to_us = fcntl.fcntl(near, fcntl.F_DUPFD, 10), fcntl.fcntl(far, fcntl.F_DUPFD, 10)
        command = [
            find() or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-pipe", f"--user-data-dir={self._profile}", f"--window-size={width},{height}", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(from_us), str(to_us), *command],
            pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for descriptor in (near, far, from_us, to_us):
            os.close(descriptor)
        self._numbers, self._rest = itertools.count(1), b""
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)
        shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, wait for its answer."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self, timeout: float = 120.0) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], timeout)[0]:
                raise TimeoutError(f"Chromium said nothing for {timeout} s")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise RuntimeError("Chromium ended")
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        """Go to an address."""
        self.send("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression."""
        return self.send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 90.0) -> Any:
        """Value of an expression as soon as it is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.3)
        raise TimeoutError(
            f"{expression!r} did not become true within {seconds} s; the page says: {self.evaluate('document.body.innerText')!r}"
        )

    def screenshot(self, path: Path) -> None:
        """A PNG of the window."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

"""The main loop of the serial pool's worker process."""

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

from harness.runner.worker import Uncommitted, attempt, warm_up

_COMMITTERS = 16
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(descriptor: int) -> None:
    """Do jobs from a socket until the driver is gone: each is announced by its key and answered by its outcome.

    Records are synced by threads while the next job runs: one sync at a time would be the slowest part of a short stage.
    """
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_driver()
    connection, lock = Connection(descriptor), threading.Lock()

    def answer(message: object) -> None:
        with lock:
            connection.send(message)

    warm_up()
    answer("ready")
    with ThreadPoolExecutor(_COMMITTERS) as committers:
        while True:
            try:
                job = connection.recv()
            except (EOFError, ConnectionResetError):
                return
            answer(job.stage.key)
            made = attempt(job)
            if isinstance(made, Uncommitted):
                committers.submit(lambda uncommitted: answer(uncommitted.commit()), made)
            else:
                answer(made)


def _die_with_driver() -> None:
    driver = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(driver,), daemon=True).start()


def _watch(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)

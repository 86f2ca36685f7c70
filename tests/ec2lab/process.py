"""A lab's process and its directory: started, asked, and ended for good. What a lab is for stands in `lab.py`."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.ec2lab import control, directory
from tests.ec2lab.control import LabError
from tests.ec2lab.directory import Process, Record

START = 90.0  # seconds; importing moto takes most of it, on a busy machine
SEPARATE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class LabProcess:
    """The daemon of one lab, in outer namespaces of its own. `endpoint` is its API for this machine's own processes."""

    def __init__(self, logs: Path | None) -> None:
        directory.sweep()
        self._logs = logs
        self.directory = directory.make()
        root = Path(__file__).parents[2]
        owner = os.pidfd_open(os.getpid())
        # The socket belongs to the network it was made in, so the daemon can answer there from within its own.
        listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        told = [f"--directory={self.directory}", f"--owner={owner}", f"--listener={listener.fileno()}"]
        try:
            with (self.directory / "daemon.log").open("wb") as log:
                self._parent = subprocess.Popen(
                    [*SEPARATE, sys.executable, "-m", "tests.ec2lab.daemon", *told],
                    cwd=root,
                    env={**os.environ, "PYTHONPATH": str(root)},
                    pass_fds=[owner, listener.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        finally:
            os.close(owner)
            listener.close()
        try:
            self.daemon = self._await()  # as this machine numbers it; the lab's own number for it is 1
        except BaseException:
            self.close()
            raise

    def _await(self) -> int:
        until = time.monotonic() + START
        while not (self.directory / "control").exists():
            if self._parent.poll() is not None or time.monotonic() > until:
                raise LabError(f"The lab did not start. Its daemon said:\n{self.said()[-4000:]}")
            time.sleep(0.05)
        children = Path(f"/proc/{self._parent.pid}/task/{self._parent.pid}/children").read_text().split()
        daemon = int(children[0])
        processes = (Process.of(self._parent.pid), Process.of(daemon))
        directory.write(self.directory, Record(Process.of(os.getpid()), processes))
        return daemon

    def said(self) -> str:
        """What the daemon has said."""
        return (self.directory / "daemon.log").read_text(errors="replace")

    def ask(self, action: str, limit: float = 30.0, **arguments: object) -> object:
        """Ask the daemon. LabError when it refuses, or has ended, with what it said last."""
        try:
            return control.ask(self.directory / "control", action, limit, **arguments)
        except LabError as error:
            if self._parent.poll() is None:
                raise
            raise LabError(f"{error}\nThe daemon has ended. It said:\n{self.said()[-4000:]}") from error

    def close(self) -> None:
        """End the lab and all that is in it. Its logs are copied to the directory given for them, if one was."""
        if not self.directory.is_dir():
            return
        # Ours alone from here on: another process that sweeps must not take it for dead while its logs are copied.
        directory.write(self.directory, Record(Process.of(os.getpid())))
        with contextlib.suppress(LabError, FileNotFoundError):
            self.ask("stop", limit=5)
        try:
            self._parent.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._parent.kill()  # and with it, by the kernel, the daemon and all that it holds
            self._parent.wait(timeout=30)
        if self._logs:
            self._logs.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.directory / "daemon.log", self._logs)
            for name in ("hosts", "commands"):
                if (self.directory / name).is_dir():
                    shutil.copytree(self.directory / name, self._logs / name, dirs_exist_ok=True)
        directory.remove(self.directory)

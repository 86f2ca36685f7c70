"""Commands inside a lab, run from outside: on the user's laptop, or on a host.

A command's output goes to files, never to pipes: what it leaves behind (an SSH master connection, say) would hold a
pipe open. Its processes belong to the lab's PID namespace, and end with the lab at the latest.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Done:
    """How a command ended: negative when a signal ended it, as with subprocess."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    def check(self) -> "Done":
        """The same, or an AssertionError that shows what it said."""
        said = f"{self.stdout[-4000:]}\n{self.stderr[-4000:]}"
        assert self.returncode == 0, (
            f"{' '.join(self.argv)} ended with {self.returncode} after {self.seconds:.0f} s\n{said}"
        )
        return self


class Command:
    """A command that runs in the lab."""

    def __init__(
        self, argv: Sequence[str], entrance: Sequence[str], environment: Mapping[str, str], logs: Path
    ) -> None:
        number = next(_numbers)
        self.argv = tuple(argv)
        self.stdout, self.stderr = logs / f"{number}.out", logs / f"{number}.err"
        self.began = time.monotonic()
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self._entered = subprocess.Popen(
                [*entrance, *argv],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def wait(self, limit: float) -> Done:
        """How it ended. After `limit` seconds it is killed, and TimeoutError raised with what it has said."""
        try:
            code = self._entered.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._entered.wait(timeout=10)
            out, err = self.output()
            text = f"{' '.join(self.argv)} had not ended after {limit:.0f} s\n{out[-4000:]}\n{err[-4000:]}"
            raise TimeoutError(text) from None
        return Done(self.argv, code, *self.output(), time.monotonic() - self.began)

    def reap(self) -> None:
        """Take note that it has ended, as all commands do when their lab ends."""
        self._entered.wait(timeout=20)

    def output(self) -> tuple[str, str]:
        """What it has said so far."""
        return self.stdout.read_text(errors="replace"), self.stderr.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._entered.poll() is not None

    def signal(self, number: int) -> None:
        """Send a signal to the command itself: not to what it has started, and not to the way in."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._entered.pid}/task/{self._entered.pid}/children").read_text().split()
            for child in children or [str(self._entered.pid)]:
                os.kill(int(child), number)


def laptop_entrance(daemon: int, directory: Path) -> list[str]:
    """The way to the laptop: the namespaces of the lab's daemon, with a working directory."""
    inside = ["nsenter", f"--target={daemon}", "--net", "--mount", "--pid"]
    return [*inside, "--", "env", f"--chdir={directory}"]


def host_entrance(daemon: int, first_process: int) -> list[str]:
    """The way to a host: by the laptop, to the namespaces of the host's first process (by its number in the lab)."""
    there = [f"--target={first_process}", "--net", "--mount", "--pid", "--uts", "--ipc"]
    return [*laptop_entrance(daemon, Path("/")), "nsenter", *there, "--"]

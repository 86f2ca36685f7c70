"""A program that is given one JSON object and answers in lines, and the limits on waiting for it.

`cluster.head` runs the agent on the head through one, over a shell or SSH. It knows pipes and clocks, and nothing of
what the lines mean.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

_END_GRACE_S = 5.0
"""How long a program may take to end after SIGTERM: an SSH client closes its connection within that."""


class SilentError(Exception):
    """The program said nothing for as long as it was allowed to."""


class AgentProcess:
    """One run of a program, in a session of its own: a Ctrl-C of ours does not reach it.

    Use it as a context: at its end the program is ended too, wherever it is.
    """

    def __init__(self, arguments: Sequence[str], payload: dict[str, Any]) -> None:
        """Start it and hand it `payload`. Raises OSError where it cannot be started."""
        with contextlib.ExitStack() as opened:
            self._stderr = opened.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
            )
            opened.pop_all()
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone already: its exit status tells
            stdin.write(json.dumps(payload).encode())
            stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()

    def __enter__(self) -> "AgentProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.close()

    def lines(self, silence_s: float | None, total_s: float | None = None) -> Iterator[str]:
        """Its lines as they come, without their ends.

        Raises SilentError after `silence_s` seconds without a byte, or `total_s` seconds in all; None is no limit.
        """
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = None if total_s is None else time.monotonic() + total_s
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                limits = [limit for limit in (silence_s, left) if limit is not None]
                if not selector.select(min(limits) if limits else None):
                    raise SilentError
                chunk = os.read(descriptor, 65536)
                if not chunk:
                    break
                *whole, pending = (pending + chunk).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace")
        if pending:
            yield pending.decode(errors="replace")

    def exit_status(self, limit_s: float = _END_GRACE_S) -> int | None:
        """Its exit status once its output has ended; None if it does not end within `limit_s` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(limit_s)
        return None

    def last_words(self) -> str:
        """The last line that it wrote to stderr, "" if it wrote none."""
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")

    def end(self) -> None:
        """End it and all that it started on this machine, gently and then surely. Thread-safe, and may be repeated."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_GRACE_S)

"""Holds an SSH tunnel from this machine to the gateway on a remote head, and brings it back when it breaks.

Called by `cli.tunnel`. Goes to the head the way Ray does (`launch.head_shell`); knows nothing of what passes through.
"""

import contextlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

from elastic_deploy.cluster.dies_with import dying_with_us
from elastic_deploy.cluster.remote_shell import remote_command
from elastic_deploy.core.backoff import STABLE, pause
from elastic_deploy.model.duration import format_duration
from elastic_deploy.model.errors import RefusedError, UsageError

LOCALHOST = "127.0.0.1"
CONNECTS_WITHIN_S = 30.0
"""SSH's own limit for the connection is 10 s (`remote_shell`); the rest is for the login on a loaded head."""
GIVES_UP_AFTER_S = 600.0
"""A head that is away for so long was most often taken down: its address may be somebody else's by then."""
_LOOK_S = 0.1
_END_GRACE_S = 5.0
_FLAGS_WITH_VALUE = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
"""The flags of ssh(1) that take a value, which may stand in the next word."""


@dataclass(frozen=True, slots=True)
class Way:
    """From `port` on this machine, through the SSH command `shell`, to the gateway's address as the head sees it."""

    shell: str
    port: int
    gateway_host: str
    gateway_port: int


def tunnel_command(way: Way) -> list[str]:
    """The SSH command line that holds the tunnel and runs nothing on the head, nor in a container there.

    Raises ValueError where the way's shell is no SSH command.
    """
    _ssh, _no_terminal, *words = remote_command(way.shell, "true")
    host = f"[{way.gateway_host}]" if ":" in way.gateway_host else way.gateway_host
    forward = f"{LOCALHOST}:{way.port}:{host}:{way.gateway_port}"
    return ["ssh", "-N", "-T", "-o", "ExitOnForwardFailure=yes", "-L", forward, *words[: _destination(words) + 1]]


def _destination(words: list[str]) -> int:
    """The place of USER@HOST: the first word that is neither a flag nor a flag's value."""
    place = 0
    while place < len(words):
        word = words[place]
        if not word.startswith("-"):
            return place
        place += 2 if len(word) == 2 and word[1] in _FLAGS_WITH_VALUE else 1
    raise ValueError(f"an SSH command that names no host: {words!r}")


def require_free(port: int) -> None:
    """Raises UsageError where this machine's port cannot be listened on."""
    with socket.socket() as probe:
        # As ssh does: connections of a tunnel that has just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} of this machine cannot be used ({error.strerror}): give another one with --port."
            ) from error


def hold(way: Way, ready: Callable[[], None], say: Callable[[str], None]) -> None:
    """Hold the tunnel until the caller is interrupted; its process is ended whatever ends this.

    `ready` is called once, when connections are first taken. Raises UsageError where the local port is taken,
    RefusedError where the first connection fails, or one that broke does not come back in `GIVES_UP_AFTER_S`.
    """
    require_free(way.port)
    command = tunnel_command(way)
    with _Connection(command, way.port) as connection:
        if not connection.stands():
            raise RefusedError(
                f"No tunnel to the head could be opened: {connection.last_words()}. Check that the head runs"
                " (`elastic-deploy status`), and that this machine may reach its port 22."
            )
        ready()
        _, words = connection.wait_for_end()
    failures, lost_at = 1, time.monotonic()
    say(f"The connection to the head was lost ({words}): connecting again.")
    while time.monotonic() - lost_at < GIVES_UP_AFTER_S:
        time.sleep(pause(failures))
        with _Connection(command, way.port) as connection:
            if not connection.stands():
                failures, words = failures + 1, connection.last_words()
                continue
            say("The tunnel stands again.")
            stood_for, words = connection.wait_for_end()
        # One that breaks again at once is not asked for every second.
        failures, lost_at = 1 if stood_for >= STABLE else failures + 1, time.monotonic()
        say(f"The connection to the head was lost ({words}): connecting again.")
    raise RefusedError(
        f"The head has not been reached for {format_duration(GIVES_UP_AFTER_S)} ({words}):"
        " `elastic-deploy status` says whether the cluster still runs."
    )


class _Connection:
    """One run of ssh, in a session of its own: a Ctrl-C of ours does not reach it, we end it.

    Where we are killed the kernel does: it is started and held by one thread, which is the command's own.
    """

    def __init__(self, command: list[str], port: int) -> None:
        self._port = port
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._began = time.monotonic()
        try:
            self._process = subprocess.Popen(
                dying_with_us(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise RefusedError(f"No tunnel can be opened: ssh cannot be run ({error.strerror}). Install it.") from error

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_END_GRACE_S)
        self._stderr.close()

    def stands(self) -> bool:
        """Whether connections are taken, waiting for that until ssh ends or `CONNECTS_WITHIN_S` are over."""
        while self._process.poll() is None and time.monotonic() - self._began < CONNECTS_WITHIN_S:
            # ssh listens only once it has logged in.
            with contextlib.suppress(OSError), socket.create_connection((LOCALHOST, self._port), 1.0):
                return self._process.poll() is None
            time.sleep(_LOOK_S)
        return False

    def wait_for_end(self) -> tuple[float, str]:
        """For how many seconds it ran in all, and its last words."""
        self._process.wait()
        return time.monotonic() - self._began, self.last_words()

    def last_words(self) -> str:
        """The last line that ssh wrote, or how it ended."""
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr.read().decode(errors="replace").splitlines()]
        status = self._process.poll()
        silent = f"no answer within {CONNECTS_WITHIN_S:.0f} s" if status is None else f"ssh ended with status {status}"
        return next((line.rstrip(".") for line in reversed(lines) if line), silent)

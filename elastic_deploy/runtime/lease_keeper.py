"""`python -m elastic_deploy.runtime.lease_keeper DIRECTORY SESSION`: ends the lease on GPUs that nobody supervises.

Started by the supervisor, which it outlives. It looks at one file's time of change, and does nothing else until that
has stood still for the lease's term. Then the request to the autoscaler is cleared and what is left of us in Ray is
ended (`lease_end`), so that the nodes idle out. It goes with the cluster, and when nothing is leased any more.
"""

import fcntl
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from elastic_deploy.runtime.lease_terms import LostLeaseError, Terms, keeper_path, lease_path, read_terms

ENDING = "elastic_deploy.runtime.lease_end"

STEP = 1.0
"""Seconds between looks: one stat call each."""

LOOKS_FOR_CLUSTER = 5.0
"""Seconds between knocks at Ray's control store."""

CLUSTER_GONE = 60.0
"""Seconds of refused connections after which the cluster is taken for stopped: then nothing is leased."""

ENDED_WITHIN = 300.0
"""Seconds for one attempt to end everything: engines are swept on every node of theirs."""


class Watch:
    """Counts how long nobody has renewed, on a clock that nobody can set."""

    def __init__(self) -> None:
        self._seen: object = None
        self._since = 0.0

    def silent_for(self, renewal: object, now: float) -> float:
        """Seconds since `renewal` was another one."""
        if renewal != self._seen:
            self._seen, self._since = renewal, now
        return now - self._since


def renewal_of(directory: Path) -> tuple[int, int]:
    """What changes with each renewal. Raises FileNotFoundError where nothing is leased."""
    seen = lease_path(directory).stat()
    return seen.st_mtime_ns, seen.st_ino


def accepts(address: str) -> bool:
    """Whether anybody listens there."""
    host, _, port = address.rpartition(":")
    with suppress(OSError, ValueError), socket.create_connection((host.strip("[]"), int(port)), timeout=2):
        return True
    return False


def keep(directory: Path, session: str) -> None:
    """Watch until the lease has ended and all is released, or until there is none."""
    watch, reached = Watch(), time.monotonic()
    knocked, terms = float("-inf"), None
    while True:
        try:
            silent = watch.silent_for(renewal_of(directory), time.monotonic())
            terms = _terms(directory, terms)
        except FileNotFoundError:
            return
        if terms is not None and terms.session != session:
            return  # another head's lease, which has a keeper of its own
        now = time.monotonic()
        if terms is not None and now - knocked >= LOOKS_FOR_CLUSTER:
            knocked = now
            reached = now if accepts(terms.gcs_address) else reached
            if now - reached >= CLUSTER_GONE:
                return
        if terms is not None and silent >= terms.term and _end(directory, terms):
            return
        time.sleep(STEP)


def _terms(directory: Path, before: Terms | None) -> Terms | None:
    try:
        return read_terms(directory)
    except LostLeaseError:
        return before


def _end(directory: Path, terms: Terms) -> bool:
    """End everything; whether it is done. It is not where a supervisor has come back meanwhile, or Ray does not answer.

    In a process of its own: only then is Ray imported, which takes a hundred megabytes.
    """
    renewal = ",".join(map(str, renewal_of(directory)))
    command = [sys.executable, "-m", ENDING, str(directory), terms.session, renewal]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, timeout=ENDED_WITHIN, check=False, stdin=subprocess.DEVNULL).returncode == 0
    return False


def main() -> None:
    """Keep the lease, unless another keeper of this directory does."""
    directory, session = Path(sys.argv[1]), sys.argv[2]
    with keeper_path(directory).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        keep(directory, session)
        file.truncate(0)


if __name__ == "__main__":
    main()

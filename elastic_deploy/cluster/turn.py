"""One command at a time launches or ends a cluster: a lock on a file in its directory, which says who holds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from elastic_deploy.model.errors import RefusedError
from elastic_deploy.model.home import cluster_dir, private_dir


@contextmanager
def turn(cluster_name: str, doing: str) -> Iterator[None]:
    """Hold the cluster's lock. `doing` completes "is ..." for whoever comes meanwhile, who gets a RefusedError.

    The lock goes with the process that holds it, however that ends; its file goes at the end of the turn.
    """
    path = private_dir(cluster_dir(cluster_name)) / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(descriptor, cluster_name) from None
        if not _is_at(descriptor, path):  # its last holder removed it between our opening and locking it
            raise _taken(descriptor, cluster_name)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"Process {os.getpid()} is {doing}".encode(), 0)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, cluster_name: str) -> RefusedError:
    holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "Another command is at"
    return RefusedError(f"{holder} {cluster_name} at this moment: wait until it has ended, and try again.")


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False

"""One command at a time launches or ends a cluster: a lock on a file in its directory, which says who holds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from elastic_deploy.model.errors import RefusedError
from elastic_deploy.model.home import cluster_dir, private_dir


@contextmanager
def turn(cluster_name: str, doing: str) -> Iterator[None]:
    """Hold the cluster's lock. `doing` completes "is ..." for whoever comes meanwhile, who gets a RefusedError.

    The lock goes with the process that holds it, however that ends.
    """
    path = private_dir(cluster_dir(cluster_name)) / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "Another command"
            raise RefusedError(f"{holder} {cluster_name} at this moment: wait until it has ended.") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"Process {os.getpid()} is {doing}".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)

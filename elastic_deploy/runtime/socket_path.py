"""A short path to the supervisor's socket: a unix socket's own may have 107 characters, a home directory's more."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "supervisor.sock"


@contextmanager
def open_socket_path(directory: Path) -> Iterator[Path]:
    """The socket in `directory`, by way of an open descriptor of it (Linux)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}") / NAME
    finally:
        os.close(descriptor)

"""Files in /dev/shm that a node's processes leave behind when they are killed.

Called by `nodes` around the end of a node: what its processes map is noted while they run, and what nobody maps any
more is removed when they are gone. Knows nothing of clusters or nodes.
"""

import os
from collections.abc import Iterable
from pathlib import Path

DIRECTORY = "/dev/shm/"

_DELETED = " (deleted)"  # what proc(5) adds to the path of a mapping whose file is gone


def mapped_by(pids: Iterable[int]) -> frozenset[str]:
    """The existing files in /dev/shm that the processes `pids` map or hold open."""
    return frozenset(path for pid in pids for path in _mapped(pid) | _open(pid))


def remove_unused(paths: Iterable[str]) -> frozenset[str]:
    """Remove those of `paths` that no process of this machine maps or holds open; return the paths still in use.

    Nodes of one machine share memory, so what one node leaves, another may still need.
    """
    existing = frozenset(path for path in paths if Path(path).exists())
    if not existing:
        return frozenset()
    in_use = mapped_by(int(entry) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208
    for path in existing - in_use:
        Path(path).unlink(missing_ok=True)
    return existing & in_use


def _mapped(pid: int) -> set[str]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:  # gone, or another user's
        return set()
    paths = {line[line.index(DIRECTORY) :] for line in lines if DIRECTORY in line}
    return {path for path in paths if not path.endswith(_DELETED)}


def _open(pid: int) -> set[str]:
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return set()
    paths = set()
    for link in links:
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith(DIRECTORY) and not target.endswith(_DELETED):
            paths.add(target)
    return paths

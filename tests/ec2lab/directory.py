"""The labs of this machine: a directory for each, who owns it, and the removal of those whose owner is dead.

A lab is alive while both its owner (the process that made it) and its daemon are. The kernel ends nearly all of a dead
one: its processes, mounts, links and namespaces all hang on the daemon. What is left to sweep is the directory, and a
daemon whose owner died before it could notice.
"""

import contextlib
import json
import os
import secrets
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

HOME = Path("/run/ec2lab")  # short: the path of a Unix socket has at most 107 characters
OWNER = "owner.json"
NEWBORN = 60.0  # seconds that a directory may be without a record


@dataclass(frozen=True)
class Process:
    """A process for good: a number and the time of its start, since numbers are used again."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this number now."""
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process itself, while it lives."""
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.pid)
            if found.status() != psutil.STATUS_ZOMBIE and abs(found.create_time() - self.started) < 0.05:
                return found
        return None


@dataclass(frozen=True)
class Record:
    """Who a lab belongs to: the process that made it, and, once they run, its daemon and the daemon's parent."""

    owner: Process
    daemon: tuple[Process, ...] = ()

    @property
    def alive(self) -> bool:
        return all(process.find() for process in (self.owner, *self.daemon))


def make() -> Path:
    """A new directory for a lab of this process."""
    directory = HOME / secrets.token_hex(4)
    HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700)
    write(directory, Record(Process.of(os.getpid())))
    return directory


def write(directory: Path, record: Record) -> None:
    """Put the record in its place, whole."""
    new = directory / f"{OWNER}.new"
    new.write_text(json.dumps(asdict(record)))
    new.replace(directory / OWNER)


def read(directory: Path) -> Record | None:
    """The directory's record; None when it has none that can be read."""
    try:
        record = json.loads((directory / OWNER).read_text())
        return Record(Process(**record["owner"]), tuple(Process(**one) for one in record["daemon"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove(directory: Path, limit: float = 20.0) -> None:
    """End what still runs of a lab, and take its directory away."""
    record = read(directory)
    left = [found for process in (record.daemon if record else ()) if (found := process.find())]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _, stay = psutil.wait_procs(left, timeout=limit)
    if stay:
        raise RuntimeError(f"Processes of the lab {directory.name} cannot be ended: {[one.pid for one in stay]}")
    shutil.rmtree(directory, ignore_errors=True)


def sweep() -> list[str]:
    """Remove every lab that is dead, and nothing else; their names."""
    swept = []
    for directory in sorted(HOME.iterdir()) if HOME.is_dir() else []:
        record = read(directory)
        newborn = record is None and time.time() - directory.stat().st_mtime < NEWBORN
        if not newborn and not (record and record.alive):
            remove(directory)
            swept.append(directory.name)
    return swept

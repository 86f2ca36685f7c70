"""The outer namespaces made ready: a laptop for the user, disks for the hosts, nothing that outlives them.

Run by the daemon, as process 1 of a new PID, mount and network namespace; all that is mounted here goes with it.
The laptop sees this machine's files, with a /tmp and a home directory of its own laid over them: Ray's launcher keeps
SSH connections and caches there by cluster name, which two labs may share.
"""

import os
import pwd
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HIDDEN_ON_HOSTS = (Path("/tmp"), Path("/run"))


@dataclass(frozen=True)
class Room:
    """Where things stand inside: all below `root`, a file system in memory that only the lab sees."""

    root: Path
    carried: tuple[Path, ...]

    @property
    def disks(self) -> Path:
        return self.root / "disks"

    @property
    def hosts_file(self) -> Path:
        return self.root / "hosts"

    @property
    def carry(self) -> Path:
        return self.root / "carry"


def mount(*arguments: str | Path) -> None:
    """Mount, or raise with what mount says."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise RuntimeError(f"mount {' '.join(map(str, arguments))}: {done.stderr.strip()}")


def below(paths: Iterable[Path], parents: Iterable[Path]) -> tuple[Path, ...]:
    """The paths that stand below one of the parents."""
    parents = list(parents)
    return tuple(sorted({path for path in paths if any(path.is_relative_to(parent) for parent in parents)}))


def furnish(root: Path, needed: Iterable[Path]) -> Room:
    """Make it all. `needed` are the directories that Python and the tests come from, wherever they stand."""
    needed = list(needed)
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    room = Room(root, below(needed, HIDDEN_ON_HOSTS))
    root.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    for directory in (room.disks, room.carry, root / "home" / "upper", root / "home" / "work"):
        directory.mkdir(parents=True)
    laid = below(needed, [*HIDDEN_ON_HOSTS, home])
    for path in laid:
        _onto(path, room.carry / path.relative_to("/"))
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp")
    layers = f"lowerdir={home},upperdir={root}/home/upper,workdir={root}/home/work"
    mount("-t", "overlay", "overlay", "-o", layers, home)
    subprocess.run(["rm", "-rf", home / ".ssh", home / ".aws"], timeout=30, check=True)
    for path in laid:
        if not path.is_relative_to("/run"):  # only /tmp and the home were laid over, here
            _onto(room.carry / path.relative_to("/"), path)
    Path("/run/netns").mkdir(exist_ok=True)
    mount("-t", "tmpfs", "tmpfs", "/run/netns")
    room.hosts_file.write_text("127.0.0.1 localhost\n")
    mount("--bind", room.hosts_file, "/etc/hosts")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")  # of this namespace: from host to host by public address
    return room


def _onto(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    mount("--bind", source, target)

"""Ends launchers of a cluster that nobody waits for any more: an `up` that was killed leaves its own behind.

Called by `down`. Such a launcher would go on, and might make a head after `down` has seen that there is none.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.model.home import cluster_dir

_LAUNCHER = "elastic_deploy.cluster.launcher"
_LAUNCHES = ("up", "bring")
_LIMIT_S = 10.0


def end_orphans(config: ClusterConfig) -> list[int]:
    """End them with all that they run, and return their numbers; when this returns they have ended."""
    found = [each for each in psutil.process_iter() if _is_orphan(each, config)]
    for each in found:
        with suppress(ProcessLookupError, PermissionError):
            # A launcher leads a group of its own (`cluster.launch`), and what it runs is in it.
            os.killpg(each.pid, signal.SIGKILL)
    psutil.wait_procs(found, timeout=_LIMIT_S)
    return [each.pid for each in found]


def _is_orphan(process: psutil.Process, config: ClusterConfig) -> bool:
    """Whether it launches this very cluster for this user, sees the same files, and its `up` has ended."""
    try:
        words = process.cmdline()
        if _LAUNCHER not in words or os.getpgid(process.pid) != process.pid:
            return False
        verb, path = words[words.index(_LAUNCHER) + 1 :][:2]
        named = (Path(process.cwd()) / path).resolve()
        ours = process.uids().real == os.getuid() and _files_of(process.pid) == _files_of(os.getpid())
        if not ours or verb not in _LAUNCHES or _is_waited_for(process):
            return False
    except (psutil.Error, ValueError, OSError):
        return False
    # The launcher is given the YAML itself, or a completed copy of it in the cluster's directory.
    return named == config.path.resolve() or named.is_relative_to(cluster_dir(config.name).resolve())


def _files_of(pid: int) -> str:
    """What a process sees of the disk: in a container the same path is another file."""
    return str(Path(f"/proc/{pid}/ns/mnt").readlink())


def _is_waited_for(process: psutil.Process) -> bool:
    """Whether its parent is still a command of ours; an orphan's is process 1, or whoever takes its place."""
    parent = process.parent()
    words = parent.cmdline() if parent else []
    return any(Path(word).name == "elastic-deploy" or "elastic_deploy.cli" in word for word in words)

"""Ray's autoscaler process on the head: whether it runs, and its restart when it does not.

Nothing in Ray restarts the monitor of a cluster that `ray up` has started, and without it no node is ever launched
again. Called by the supervisor, which runs on the head too.
"""

import os
import subprocess
from pathlib import Path

import psutil

_SCRIPTS = ("autoscaler/v2/monitor.py", "autoscaler/_private/monitor.py")


def find_monitor(gcs_address: str) -> tuple[str, ...]:
    """The command line of this cluster's monitor; empty if none runs on this machine."""
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if _runs_monitor(command) and f"--gcs-address={gcs_address}" in command:
            return tuple(command)
    return ()


def _runs_monitor(command: list[str]) -> bool:
    """Whether it is Python with the monitor's script, rather than a shell that is about to start that."""
    if not command or not Path(command[0]).name.startswith("python"):
        return False
    return any(part.endswith(_SCRIPTS) for part in command)


def start_monitor(command: tuple[str, ...]) -> None:
    """Start the monitor again with the command line that it had.

    It must outlive the supervisor, whose children Ray ends with it: so it is started by a process that ends at once.
    Ray writes the monitor's secrets into no command line, and its environment is the head's, which is ours.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_JOB")}
    subprocess.run(
        ["/bin/sh", "-c", 'setsid "$@" </dev/null >/dev/null 2>&1 &', "sh", *command],
        check=True,
        env=environment,
        timeout=10,
    )

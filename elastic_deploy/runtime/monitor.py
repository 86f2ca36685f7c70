"""Ray's autoscaler process on the head: whether it runs, its restart when it does not, and its renewal.

Nothing in Ray restarts the monitor of a cluster that `ray up` has started, and without it no node is ever launched
again. Called by the supervisor and by the agent, which run on the head too.
"""

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

_SCRIPTS = ("autoscaler/v2/monitor.py", "autoscaler/_private/monitor.py")


_GONE_S = 10.0


def find_monitor(gcs_address: str) -> tuple[str, ...]:
    """The command line of this cluster's monitor; empty if none runs on this machine."""
    process = _find(gcs_address)
    with suppress(psutil.Error):
        return tuple(process.cmdline()) if process else ()
    return ()


def _find(gcs_address: str) -> psutil.Process | None:
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if _runs_monitor(command) and f"--gcs-address={gcs_address}" in command:
            return process
    return None


def renew_monitor(gcs_address: str) -> bool:
    """End this cluster's monitor and start it again as it was; False where none runs.

    Ray's autoscaler reads how nodes are set up once, when it starts, though it reads their number again and again
    (`RayInstaller` of Ray 2.60). It is ended as a crash would end it, which loses nothing: it finds its nodes again in
    the cloud. Raises RuntimeError where it does not go.
    """
    process = _find(gcs_address)
    if process is None:
        return False
    try:
        command, environment = tuple(process.cmdline()), process.environ()
        process.kill()
    except psutil.Error:
        return False
    gone, _ = psutil.wait_procs([process], _GONE_S)
    if not gone:
        raise RuntimeError(f"Ray's autoscaler (process {process.pid}) does not end.")
    if not find_monitor(gcs_address):  # a supervisor may have been quicker
        start_monitor(command, environment)
    return True


def _runs_monitor(command: list[str]) -> bool:
    """Whether it is Python with the monitor's script, rather than a shell that is about to start that."""
    if not command or not Path(command[0]).name.startswith("python"):
        return False
    return any(part.endswith(_SCRIPTS) for part in command)


def start_monitor(command: tuple[str, ...], environment: Mapping[str, str] = os.environ) -> None:
    """Start the monitor again with the command line that it had, and its environment, or one that is like it.

    It must outlive the supervisor, whose children Ray ends with it: so it is started by a process that ends at once.
    Ray writes the monitor's secrets into no command line, and its environment is the head's, which is ours.
    """
    environment = {name: value for name, value in environment.items() if not name.startswith("RAY_JOB")}
    subprocess.run(
        ["/bin/sh", "-c", 'setsid "$@" </dev/null >/dev/null 2>&1 &', "sh", *command],
        check=True,
        env=environment,
        timeout=10,
    )

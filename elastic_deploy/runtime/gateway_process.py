"""The gateway as a process: its command line, how it is told from any other process, and how it is started.

Used by `front_door`, which decides when. Nothing secret stands in the command line.
"""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil

from elastic_deploy.model.front_door import FrontDoorOptions
from elastic_deploy.runtime.certificate_files import certificate_path, key_path
from elastic_deploy.runtime.port import why_taken

PROGRAM = "elastic_deploy.gateway"


def arguments(directory: Path, host: str, port: int, options: FrontDoorOptions) -> list[str]:
    """What the gateway is told. What nobody has said is not told either, and its own default holds."""
    told = ["--dir", str(directory), "--host", host, "--port", str(port)]
    if options.certificate:
        told += ["--tls-cert", str(certificate_path(directory)), "--tls-key", str(key_path(directory))]
    for name, value in asdict(options.bounds).items():
        if value is not None:
            told += [f"--{name.replace('_', '-')}", _written(value)]
    return told


def _written(value: float) -> str:
    """A number as the gateway reads it: without an exponent, and nothing as 0."""
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def is_gateway(process: psutil.Process, directory: Path) -> bool:
    """Whether it is this directory's gateway: the pid in an old announcement may be anybody's by now.

    Raises psutil.Error where the process has ended.
    """
    command = process.cmdline()
    return PROGRAM in command and str(directory) in command


def unannounced(directory: Path, host: str, port: int) -> psutil.Process | None:
    """This directory's gateway that has the port, for where nobody has announced himself there: the latest one.

    An announcement can be lost: its file may be removed, by people or by one that ends at that very moment.
    """
    if not why_taken(host, port):
        return None
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if is_gateway(process, directory):
                found.append((process.create_time(), process.pid, process))
    return max(found)[2] if found else None


def told(process: psutil.Process) -> list[str]:
    """The arguments that a gateway process was started with, as `arguments` makes them."""
    command = process.cmdline()
    return command[command.index("--dir") :] if "--dir" in command else []


def start(directory: Path, told: list[str], predecessor: int | None) -> psutil.Process | None:
    """Start a gateway, which takes over from the process `predecessor` if there is one; None if it ended at once."""
    takeover = ["-m", "elastic_deploy.runtime.takeover", str(predecessor), PROGRAM]
    command = [sys.executable, *(["-m", PROGRAM] if predecessor is None else takeover), *told]
    # By way of a shell that ends at once: Ray ends the children of a worker together with it.
    shell = 'log="$1"; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!'
    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", str(directory / "gateway.log"), *command],
        check=True,
        timeout=10,
        stdout=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_JOB")},
    )
    try:
        return psutil.Process(int(done.stdout))
    except psutil.NoSuchProcess:
        return None

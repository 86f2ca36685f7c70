"""The lease on the cluster's GPUs: the supervisor renews it, and a process of its own ends it where nobody does.

The file's time of change is the renewal. Nobody compares it with a clock: the keeper (`lease_keeper`) counts its own
seconds from each change that it sees, so a head whose clock jumps ends no lease; and to renew takes no room on a disk
that may be full.
"""

import json
import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil

from elastic_deploy.model.home import write_private
from elastic_deploy.runtime.lease_terms import Terms, ended_path, keeper_path, lease_path

log = logging.getLogger(__name__)

KEEPER = "elastic_deploy.runtime.lease_keeper"

STARTS_WITHIN = 15.0
"""Seconds for a keeper to say that it is there; it imports little."""


class Lease:
    """The supervisor's end of it."""

    def __init__(self, directory: Path, gcs_address: str, session: str) -> None:
        self._directory = directory
        self._gcs_address = gcs_address
        self._session = session
        self._terms: Terms | None = None
        self._tried_at = float("-inf")  # on the monotonic clock
        self.renewed_at: float | None = None
        """When it was last renewed, on the wall's clock, for people; None where nothing is leased."""
        self.touch()

    @property
    def ends_at(self) -> float | None:
        """When it ends if nobody renews it any more; None where it has no end, or there is none."""
        return None if self._terms is None or self.renewed_at is None else self.renewed_at + self._terms.term

    def touch(self) -> None:
        """Begin another term on what was said before, if anything was: whatever else goes wrong, somebody is here."""
        with suppress(OSError):
            os.utime(lease_path(self._directory))

    def renew(self, term: float | None, *, leased: bool) -> None:
        """Begin another term, and see to it that a keeper runs. With no term, or nothing leased, there is no lease."""
        path = lease_path(self._directory)
        if not leased or term is None:
            self._terms = self.renewed_at = None
            path.unlink(missing_ok=True)
            return
        terms = Terms(self._gcs_address, self._session, term)
        try:
            if terms != self._terms or not path.exists():
                write_private(path, json.dumps(asdict(terms)) + "\n")
                self._terms = terms
            else:
                os.utime(path)
            self.renewed_at = time.time()
        except OSError as error:
            # A supervisor that cannot write still supervises: the old terms hold, and are renewed.
            log.warning("the lease's terms could not be written: %s", error)
            self.touch()
        self._keep_keeper()

    def take_ending(self) -> str:
        """What a keeper has done while no supervisor was there, told once; "" for nothing."""
        path = ended_path(self._directory)
        try:
            told = path.read_text().strip()
            path.unlink()
        except OSError:
            return ""
        return told

    def _keep_keeper(self) -> None:
        now = time.monotonic()
        if now - self._tried_at < STARTS_WITHIN or is_kept(self._directory, self._session):
            return
        self._tried_at = now
        command = [sys.executable, "-m", KEEPER, str(self._directory), self._session]
        # By way of a shell that ends at once: Ray ends the children of a worker together with it.
        shell = 'log="$1"; shift; setsid "$@" </dev/null >>"$log" 2>&1 &'
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_JOB")}
        try:
            subprocess.run(
                ["/bin/sh", "-c", shell, "sh", str(self._directory / "lease.log"), *command],
                check=True,
                timeout=10,
                env=environment,
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("the lease's keeper could not be started: %s", error)


def is_kept(directory: Path, session: str) -> bool:
    """Whether a keeper of this session runs."""
    try:
        process = psutil.Process(int(keeper_path(directory).read_text()))
        command = process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return False
    return KEEPER in command and str(directory) in command and session in command

"""What stands on disk of the lease on the cluster's GPUs, and how it is read: by `lease`, `lease_keeper`, the agent."""

import json
from dataclasses import dataclass
from pathlib import Path

from elastic_deploy.model.duration import format_duration


@dataclass(frozen=True, slots=True)
class Terms:
    """What the keeper has to know. `session` is Ray's: what was leased in another one is gone. `term` is in seconds."""

    gcs_address: str
    session: str
    term: float


class LostLeaseError(ValueError):
    """The file does not say what is leased."""


def lease_path(directory: Path) -> Path:
    """The file that the supervisor touches."""
    return directory / "lease.json"


def keeper_path(directory: Path) -> Path:
    """The file that the keeper holds a lock on, with its process id."""
    return directory / "lease.keeper"


def ended_path(directory: Path) -> Path:
    """The file in which the keeper tells the next supervisor what it has done."""
    return directory / "lease.ended"


def read_terms(directory: Path) -> Terms:
    """What is leased. Raises FileNotFoundError where nothing is, LostLeaseError where one cannot tell."""
    try:
        told = json.loads(lease_path(directory).read_text())
        return Terms(str(told["gcs_address"]), str(told["session"]), float(told["term"]))
    except (KeyError, TypeError, ValueError) as error:
        raise LostLeaseError(str(error)) from error


def ends_in(directory: Path, now: float) -> str:
    """When the lease ends, as a sentence for whoever finds no supervisor; "" where there is none."""
    try:
        renewed = lease_path(directory).stat().st_mtime
        left = renewed + read_terms(directory).term - now
    except (OSError, LostLeaseError):
        return ""
    ago = format_duration(max(0.0, round(now - renewed)))
    if left <= 0:
        return f" Nobody has renewed the lease on the cluster's GPUs for {ago}: they are being released."
    return (
        f" The lease on the cluster's GPUs was renewed {ago} ago; they are released in {format_duration(round(left))}."
    )

"""The routing table as it lies on disk, and as a value: the one place that knows the form of `routes.json`.

Written by the supervisor, read by `files`. Pure.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elastic_deploy.model.action import Backend, RouteEntry
from elastic_deploy.model.names import EngineName

_DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
"""Deployments name key files: nothing that could climb out of their directory, or end in `.engine`."""
LATEST = 1e11
"""A time so far away, in seconds since the epoch, that it is none: it may be milliseconds."""
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+")


class BrokenTableError(ValueError):
    """`routes.json` is not a routing table; the message says where."""


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Where requests go. If two entries have one model, the first has it.

    `expected_at` has the time, in seconds since the epoch, at which a model is expected to be served again, where the
    supervisor can tell.
    """

    entries: tuple[RouteEntry, ...] = ()
    expected_at: Mapping[str, float] = field(default_factory=dict)
    _by_model: dict[str, RouteEntry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_model", {entry.model: entry for entry in reversed(self.entries)})

    def route(self, model: str) -> RouteEntry | None:
        """The entry for a model, by the name that clients send."""
        return self._by_model.get(model)

    @property
    def deployments(self) -> tuple[str, ...]:
        """All that are served, each once."""
        return tuple(dict.fromkeys(entry.deployment for entry in self.entries))

    @property
    def backends(self) -> tuple[Backend, ...]:
        """All of all entries."""
        return tuple(backend for entry in self.entries for backend in entry.backends)


def dump_table(table: RoutingTable) -> str:
    """The text of `routes.json`."""
    entries = [
        {
            "model": entry.model,
            "deployment": entry.deployment,
            "reason": entry.reason,
            "backends": [
                {"engine": str(each.engine), "address": each.address, "version": each.version}
                for each in entry.backends
            ],
            **({"expected_at": table.expected_at[entry.model]} if entry.model in table.expected_at else {}),
        }
        for entry in table.entries
    ]
    return json.dumps({"entries": entries}, indent=1) + "\n"


def load_table(text: str) -> RoutingTable:
    """The table that `text` spells. Keys that are not known are passed over: a newer supervisor may write them.

    Raises BrokenTableError.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenTableError(f"it is not JSON: {error}") from error
    entries = _field(document, "the table", "entries", list)
    return RoutingTable(
        tuple(_entry(each, f"entries[{index}]") for index, each in enumerate(entries)), _expected_at(entries)
    )


def _field(document: Any, where: str, name: str, kind: type) -> Any:
    if not isinstance(document, dict):
        raise BrokenTableError(f"{where} is not an object")
    value = document.get(name)
    if not isinstance(value, kind):
        raise BrokenTableError(f"{where}.{name} is not a {kind.__name__}")
    return value


def _expected_at(entries: list[dict[str, Any]]) -> dict[str, float]:
    """Optional, and a guess at best: one that makes no sense is passed over."""
    guesses = {entry["model"]: entry.get("expected_at") for entry in reversed(entries)}
    return {
        model: float(guess)
        for model, guess in guesses.items()
        if isinstance(guess, (int, float)) and not isinstance(guess, bool) and 0 < guess < LATEST
    }


def _entry(document: Any, where: str) -> RouteEntry:
    deployment = _field(document, where, "deployment", str)
    if not _DEPLOYMENT.fullmatch(deployment):
        raise BrokenTableError(f"{where}.deployment is no name of a deployment")
    backends = _field(document, where, "backends", list)
    return RouteEntry(
        model=_field(document, where, "model", str),
        deployment=deployment,
        backends=tuple(_backend(each, f"{where}.backends[{index}]") for index, each in enumerate(backends)),
        reason=_field(document, where, "reason", str),
    )


def _backend(document: Any, where: str) -> Backend:
    engine = EngineName.parse(_field(document, where, "engine", str))
    if engine is None:
        raise BrokenTableError(f"{where}.engine is no name of an engine")
    address = _field(document, where, "address", str).rstrip("/")
    if not _ADDRESS.fullmatch(address):
        raise BrokenTableError(f"{where}.address is no base URL")
    version = document.get("version", "")
    if not isinstance(version, str):
        raise BrokenTableError(f"{where}.version is not a str")
    return Backend(engine, address, version)

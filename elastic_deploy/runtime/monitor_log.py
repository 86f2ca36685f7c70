"""The lines that Ray's autoscaler writes, as they come: its log, and the output of its AWS provider and node updaters.

Read on the head by `launch_log` and `setup_log`, which know what the lines mean. Three files tell of one thing: a
launch's tries and a set-up's steps stand in `monitor.out`, what the autoscaler makes of them in `monitor.log`, and
SSH's own words in `monitor.err`. Files are followed through their rotations.
"""

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

READ_AT_MOST = 1_000_000
"""Bytes read of one file in one look: the log of some hours of refusals; what came before is old news."""

_KINDS = {"log": "monitor*.log*", "out": "monitor*.out*", "err": "monitor*.err*"}
_PREFIX = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})\t(?:[A-Z]+ \S+ -- )?(.*)$")
_JOINED = re.compile(r"(?<=.)(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\t)")
"""Threads that print at the same time leave out each other's line ends."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `text` has neither colours nor Ray's prefix; `at` is None where the line says no time.

    `quotes_until` is what ends a command that the line begins to quote and does not end, empty where it does not.
    """

    kind: str
    text: str
    at: float | None = None
    quotes_until: str = ""


def line_of(kind: str, raw: str) -> Line:
    """A line taken apart. Its time is in the machine's own time zone, as Ray's logs are."""
    plain = _COLOUR.sub("", raw).rstrip("\r")
    match = _PREFIX.match(plain)
    if match is None:
        return Line(kind, plain)
    at = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
    return Line(kind, match[2], at, _quote(raw, match[2]))


def _quote(raw: str, text: str) -> str:
    if not text.startswith(("Running `", "Full command is `")) or text.endswith("`"):
        return ""
    return "\x1b[26m`" if "`\x1b[1m" in raw else "`"


class MonitorLog:
    """Follows the files through their rotations: a file is known by its inode, whatever its name becomes."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._offsets: dict[int, int] = {}
        self._quoting: dict[str, str] = {}

    def poll(self, now: float) -> list[Line]:
        """The lines written since the last look, oldest first. A line that is not yet whole is left for the next.

        Commands that are quoted over several lines are left out: they are the user's, and may hold secrets. A line
        without a time of its own stands behind the one that it follows; none lies after `now`.
        """
        found: list[tuple[float, int, Line]] = []
        offsets: dict[int, int] = {}
        # The log first: what the other files say by then is what led to its last lines, or a little more.
        for rank, (kind, pattern) in enumerate(_KINDS.items()):
            for path in sorted(self._logs.glob(pattern), key=lambda path: path.name, reverse=True):
                try:
                    with path.open("rb") as log:
                        inode = os.fstat(log.fileno()).st_ino
                        lines = _new_lines(log, self._offsets.get(inode))
                        offsets[inode] = log.tell()
                except FileNotFoundError:
                    continue  # rotated away at this moment: under its new name, the next look finds it
                after = 0.0 if kind != "err" else now
                for line in (self._parsed(kind, raw) for raw in lines):
                    if line is None:
                        continue
                    after = min(now, line.at) if line.at is not None else after
                    # Of the same moment, the output that led to a line of the log comes first.
                    found.append((after, -rank, line))
        self._offsets = offsets
        return [line for _, _, line in sorted(found, key=lambda item: item[:2])]

    def _parsed(self, kind: str, raw: str) -> Line | None:
        line = line_of(kind, raw)
        quoted = self._quoting.get(kind, "")
        if line.at is not None:
            self._quoting[kind] = line.quotes_until
            return line
        if quoted:
            ends = quoted in raw if quoted != "`" else raw.rstrip("\r").endswith("`")
            self._quoting[kind] = "" if ends else quoted
            return None
        return line if line.text.strip() else None


def _new_lines(log: BinaryIO, offset: int | None) -> list[str]:
    """The whole lines after an offset (None: the end of the file only); the file is left where they end."""
    size = log.seek(0, os.SEEK_END)
    start = max(0, size - READ_AT_MOST) if offset is None else offset
    start = log.seek(start if start <= size else 0)
    data = log.read(READ_AT_MOST)
    whole = data.rfind(b"\n") + 1
    if not whole and len(data) == READ_AT_MOST:
        whole = len(data)  # a line that long tells of no launch
    log.seek(start + whole)
    lines = data[:whole].decode(errors="replace").split("\n")
    return [part for line in lines for part in _JOINED.split(line)]

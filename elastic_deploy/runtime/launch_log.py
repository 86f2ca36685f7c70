"""Refused launches, in the cloud's own words, from the log of Ray's autoscaler.

Autoscaler v2 loses the reason of a failed launch on its way to the GCS; its monitor's log is the one place that
still has the code. Read by the observer on the head. `tests/local/test_ray_up.py` runs the real autoscaler against a
refusing provider, and notices when the line changes.
"""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from elastic_deploy.model.snapshot import LaunchFailure

LINE = re.compile(
    r"^(?:(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3})\t)?"
    r".*?Failed to launch (?P<count>\d+) nodes of type (?P<type>\S+): "
    r"(?:Node Launch Exception \((?P<code>[^)]*)\):\s*|An error occurred \((?P<boto_code>[^)]*)\) when calling)?"
    r"(?P<message>.*)"
)
"""As `autoscaler/v2/instance_manager/node_provider.py` writes it, in the format of Ray's `LOGGER_FORMAT`. A provider
that raises no NodeLaunchException shows its own error; botocore's has a code as well."""

READ_AT_MOST = 1_000_000
"""Bytes read of one file in one look: the log of some hours of refusals; what came before is old news."""


def parse(line: str, now: float) -> LaunchFailure | None:
    """The refusal that a line of the monitor's log tells of, if it tells of one.

    It happened when the line says, in the machine's own time zone as Ray's logs are; `now` where it does not say.
    """
    match = LINE.search(line)
    if match is None:
        return None
    code = match["code"] or match["boto_code"] or "LaunchError"
    message = match["message"].strip()
    if match["boto_code"]:
        message = message.partition(": ")[2] or message
    at = now
    if match["time"]:
        at = min(now, datetime.strptime(match["time"], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp())
    return LaunchFailure(match["type"], int(match["count"]), code, message or code, at)


class LaunchLog:
    """Follows the monitor's log through its rotations: a file is known by its inode, whatever its name becomes."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._offsets: dict[int, int] = {}

    def poll(self, now: float) -> list[LaunchFailure]:
        """The refusals written since the last look, oldest first. A line that is not yet whole is left for the next."""
        found: list[LaunchFailure] = []
        offsets: dict[int, int] = {}
        for path in self._logs.glob("monitor*.log*"):
            try:
                with path.open("rb") as log:
                    inode = os.fstat(log.fileno()).st_ino
                    lines = _new_lines(log, self._offsets.get(inode))
                    found += [failure for line in lines if (failure := parse(line, now))]
                    offsets[inode] = log.tell()
            except FileNotFoundError:
                continue  # rotated away at this moment: under its new name, the next look finds it
        self._offsets = offsets
        return sorted(found, key=lambda failure: failure.at)


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
    return data[:whole].decode(errors="replace").split("\n")

"""Refused launches, in the cloud's own words, from the log of Ray's autoscaler.

Autoscaler v2 loses the reason of a failed launch on its way to the GCS; its monitor's log is the one place that
still has the code. Read by the observer on the head. `tests/local/test_ray_up.py` runs the real autoscaler against a
refusing provider, and notices when the line changes.
"""

import re
from pathlib import Path

from elastic_deploy.model.snapshot import LaunchFailure

LINE = re.compile(
    r"Failed to launch (?P<count>\d+) nodes of type (?P<type>\S+): "
    r"(?:Node Launch Exception \((?P<code>[^)]*)\):\s*)?(?P<message>.*)"
)
READ_AT_MOST = 1_000_000
"""Bytes read in one look: the log of some hours of refusals; what came before is old news."""


def parse(line: str, at: float) -> LaunchFailure | None:
    """The refusal that a line of the monitor's log tells of, if it tells of one."""
    match = LINE.search(line)
    if match is None:
        return None
    code, message = match["code"] or "LaunchError", match["message"].strip()
    return LaunchFailure(match["type"], int(match["count"]), code, message or code, at)


class LaunchLog:
    """Follows the monitor's log from where it last looked; a log that was rotated is read from its start."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._offset: dict[Path, int] = {}

    def poll(self, now: float) -> list[LaunchFailure]:
        """The refusals written since the last look, stamped with the time of this one."""
        found = []
        for path in sorted(self._logs.glob("monitor*.log")):
            size = path.stat().st_size
            start = self._offset.get(path, max(0, size - READ_AT_MOST))
            with path.open("rb") as log:
                log.seek(start if start <= size else 0)
                lines = log.read(READ_AT_MOST).split(b"\n")
                self._offset[path] = log.tell() - len(lines[-1])
            for line in lines[:-1]:
                if failure := parse(line.decode(errors="replace"), now):
                    found.append(failure)
        return found

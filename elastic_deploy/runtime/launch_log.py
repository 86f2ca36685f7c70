"""Launches that did not go as asked, in the cloud's own words, from the lines of Ray's autoscaler.

Autoscaler v2 loses the reason of a failed launch on its way to the GCS; its monitor's log is the one place that
still has the code. A launch that the AWS provider tries in another zone, or that gets fewer nodes than asked, is
nowhere a failure: only the provider's output shows it. Read by the observer on the head.

That a line changes with a new Ray is noticed three times: `tests/runtime/test_ray_words.py` looks for the words in
Ray's sources, `tests/local/test_ray_up.py` and `tests/ec2lab/test_failures.py` run the real autoscaler, and where
the log tells of a failed launch without a reason, that is told.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from elastic_deploy.model.snapshot import LaunchFailure, LaunchOutcome
from elastic_deploy.runtime.monitor_log import Line, line_of

TOLD_AFTER = 3.0
"""Seconds that a try's outcome is waited for before it is told by itself: EC2 answers in one or two."""

REASON_WITHIN = 60.0
"""Seconds for which a told refusal explains what the autoscaler says of a failed launch: it does so at its next turn,
which comes later when the cloud is slow to answer."""

UNEXPLAINED = "Ray's autoscaler says that the launch failed, and its log (monitor.log on the head) gives no reason."

_LAUNCHING = re.compile(r"^Launching (?P<count>\d+) nodes of type (?P<type>\S+)\.$")
_LAUNCHED = re.compile(r"^Launched (?P<count>\d+) nodes of type (?P<type>\S+)\.$")
_FAILED = re.compile(
    r"Failed to launch (?P<count>\d+) nodes of type (?P<type>\S+): "
    r"(?:Node Launch Exception \((?P<code>[^)]*)\):\s*|An error occurred \((?P<boto_code>[^)]*)\) when calling)?"
    r"(?P<message>.*)"
)
"""As `autoscaler/v2/instance_manager/node_provider.py` writes it. A provider that raises no NodeLaunchException shows
its own error; botocore's has a code as well."""
_UNALLOCATED = re.compile(r"^Update instance REQUESTED->ALLOCATION_FAILED \(id=[^,]*, type=(?P<type>[^,]*),")
_TRY = re.compile(
    r"^create_instances: Attempt failed with (?:An error occurred \((?P<code>[^)]*)\) when calling [^:]*: )?"
    r"(?P<message>.*), retrying\.$"
)
_BLIND = re.compile(
    r"^(?:\w+\.)*exceptions\.(?P<class>\w+): "
    r"(?:An error occurred \((?P<code>[^)]*)\) when calling the \w+ operation(?: \([^)]*\))?: )?(?P<message>.+)$"
)
"""The end of a traceback: a call failed by which the autoscaler asks what runs, and with that its whole turn."""
_CAME = re.compile(r"^Launched instance i-\S+")
_ZONE = re.compile(r"\b[a-z]{2}(?:-[a-z]+)+-\d[a-z]\b")
_ADVICE = re.compile(r"You can currently get .*$")
"""EC2 names other zones here, which have refused nothing."""


@dataclass(frozen=True, slots=True)
class _Try:
    code: str
    message: str
    at: float


@dataclass
class _Batch:
    """Launches that run at the same time: the provider's output does not say which of them it tells of."""

    open: list[tuple[str, int]] = field(default_factory=list)
    launched: list[tuple[str, int]] = field(default_factory=list)
    tries: list[_Try] = field(default_factory=list)
    came: int = 0
    refused: bool = False
    told: int = 0


def parse(line: str, now: float) -> LaunchFailure | None:
    """The refusal that a line of the monitor's log tells of, if it tells of one.

    It happened when the line says; `now` where it does not say.
    """
    return _refusal(line_of("log", line), now)


def _refusal(line: Line, now: float) -> LaunchFailure | None:
    match = _FAILED.search(line.text)
    if match is None:
        return None
    code = match["code"] or match["boto_code"] or "LaunchError"
    message = match["message"].strip()
    if match["boto_code"]:
        message = message.partition(": ")[2] or message
    at = now if line.at is None else min(now, line.at)
    return LaunchFailure(match["type"], int(match["count"]), code, message or code, at, zones=_zones([message]))


def _zones(messages: Iterable[str]) -> tuple[str, ...]:
    named = [zone for message in messages for zone in _ZONE.findall(_ADVICE.sub("", message))]
    return tuple(dict.fromkeys(named))


class LaunchLog:
    """What became of the launches, from line to line."""

    def __init__(self) -> None:
        self._batch = _Batch()
        self._loose: list[_Try] = []
        self._refused_at: dict[str, float] = {}
        self._last = 0.0

    def read(self, lines: Iterable[Line], now: float) -> list[LaunchFailure]:
        """What the next lines tell of, oldest first."""
        found: list[LaunchFailure] = []
        for line in lines:
            at = now if line.at is None else min(now, line.at)
            if line.kind == "out":
                self._provider(line, at)
            elif line.kind == "log" and line.at is None and self._last and (match := _BLIND.match(line.text)):
                code, words = match["code"] or match["class"], match["message"]
                found.append(LaunchFailure("", 0, code, words, self._last, LaunchOutcome.BLIND))
            elif line.kind == "log":
                self._last = at if line.at is not None else self._last
                found += self._autoscaler(line, at)
        return [*found, *self._under_way(now)]

    def _provider(self, line: Line, at: float) -> None:
        if match := _TRY.match(line.text):
            refused = _Try(match["code"] or "LaunchError", match["message"], at)
            (self._batch.tries if self._batch.open else self._loose).append(refused)
        elif _CAME.match(line.text) and self._batch.open:
            self._batch.came += 1

    def _autoscaler(self, line: Line, at: float) -> list[LaunchFailure]:
        if match := _LAUNCHING.match(line.text):
            if not self._batch.open:
                # What was read before its launch, out of another file, belongs to it all the same.
                self._batch = _Batch(tries=[a_try for a_try in self._loose if a_try.at >= at])
                self._loose = []
            self._batch.open.append((match["type"], int(match["count"])))
        elif failure := _refusal(line, at):
            tries = [a_try.message for a_try in self._batch.tries if a_try.code == failure.code]
            self._refused_at[failure.node_type] = at
            self._batch.refused = True
            told = replace(failure, zones=_zones([*tries, failure.message]))
            return [told, *self._ended((failure.node_type, failure.count), at)]
        elif match := _LAUNCHED.match(line.text):
            launch = (match["type"], int(match["count"]))
            self._batch.launched.append(launch)
            return self._ended(launch, at)
        elif (match := _UNALLOCATED.match(line.text)) and self._unexplained(match["type"], at):
            self._refused_at[match["type"]] = at
            return [LaunchFailure(match["type"], 1, "LaunchError", UNEXPLAINED, at)]
        return []

    def _unexplained(self, node_type: str, at: float) -> bool:
        return at - self._refused_at.get(node_type, -REASON_WITHIN) >= REASON_WITHIN

    def _ended(self, launch: tuple[str, int], at: float) -> list[LaunchFailure]:
        """What there is to tell when a launch has ended: only the last of a batch lets one count what came."""
        batch = self._batch
        if launch in batch.open:
            batch.open.remove(launch)
        if batch.open or not batch.launched:
            return []
        tries = () if batch.refused else tuple(batch.tries)
        wanted = sum(count for _, count in batch.launched)
        if 0 < batch.came < wanted:
            outcome, came = LaunchOutcome.PARTIAL, batch.came
        elif tries:
            outcome, came = LaunchOutcome.ELSEWHERE, wanted
        else:
            return []
        code, message = (tries[-1].code, tries[-1].message) if tries else ("", "")
        types = " and ".join(dict.fromkeys(node_type for node_type, _ in batch.launched))
        zones = _zones([a_try.message for a_try in tries])
        return [LaunchFailure(types, wanted, code, message, at, outcome, came, zones)]

    def _under_way(self, now: float) -> list[LaunchFailure]:
        """A try that was refused some seconds ago, and whose launch has not ended: the next one takes its time."""
        batch = self._batch
        if not batch.open or len(batch.tries) <= batch.told or now - batch.tries[-1].at < TOLD_AFTER:
            return []
        batch.told = len(batch.tries)
        last = batch.tries[-1]
        types = " and ".join(dict.fromkeys(node_type for node_type, _ in batch.open))
        wanted = sum(count for _, count in batch.open)
        zones = _zones([a_try.message for a_try in batch.tries])
        return [LaunchFailure(types, wanted, last.code, last.message, last.at, LaunchOutcome.RETRYING, 0, zones)]

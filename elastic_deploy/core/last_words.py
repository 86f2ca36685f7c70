"""The lines of an engine's log that tell why it ended; pure, called where the log lies.

vLLM's processes tell of one failure one after the other, and all but the first only repeat that something failed. So
what counts begins where an engine first says that it ends; from there on the last exception that is no such echo is
the cause, since of Python's chained exceptions the last one says most. `tests/core/engine_logs` has real logs.
"""

import re
from dataclasses import dataclass

LONGEST = 500
"""Characters of last words at the most: they stand in events and in `status`."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX = re.compile(
    r"^(?:\([^)]*\)\s*)*(?:(?P<level>[A-Z]+)\s+\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?\s+\[[^\]]*\] ?)?(?P<text>.*)$"
)
_EXCEPTION = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?(?:[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Timeout)|Exception)(?:\(\w+\))?(?::\s|:?$)"
)
_USAGE = re.compile(r"^\S+: error: .+")
_ENDING = re.compile(r"failed to start|encountered a fatal error|died unexpectedly")
_ECHO = re.compile(
    r"Engine core (?:initialization|proc)|EngineDeadError|See (?:root cause|stack trace)|Executor failed|"
    r"(?:EngineCore|WorkerProc) (?:failed to start|encountered a fatal error)|output_handler failed|"
    r"^(?:\w+\.)*(?:SystemExit|CancelledError|KeyboardInterrupt)"
)
_VALIDATION = re.compile(r"ValidationError: \d+ validation errors? for \w+$")
_VALIDATION_END = re.compile(r"\s*\[type=.*$")


@dataclass(frozen=True, slots=True)
class _Line:
    level: str
    text: str

    @property
    def is_exception(self) -> bool:
        """Whether it names an exception, or is what argparse says of wrong arguments."""
        return bool(_EXCEPTION.match(self.text) or _USAGE.match(self.text))

    @property
    def is_error(self) -> bool:
        """Whether it was logged as an error and is a sentence of its own, not a traceback's."""
        return self.level in ("ERROR", "CRITICAL") and not self.text.startswith((" ", "Traceback"))

    @property
    def is_routine(self) -> bool:
        """Whether an engine that is well logs such lines; "INFO:" is how uvicorn logs requests."""
        return self.level in ("DEBUG", "INFO", "WARNING") or self.text.startswith("INFO:")


def last_words(log: str) -> str:
    """The telling line of a log's tail, cut to LONGEST; where none tells, the last that is not blank.

    Empty where that is a line as any other: it was killed in the middle of its work, and its log does not know.
    """
    lines = [line for raw in log.splitlines() if (line := _parsed(raw)).text.strip()]
    ending = next((index for index, line in enumerate(lines) if _ENDING.search(line.text)), 0)
    told = [index for index in range(ending, len(lines)) if lines[index].is_exception]
    errors = [index for index in range(ending, len(lines)) if lines[index].is_error]
    last = [index for index, line in enumerate(lines[-1:], len(lines) - 1) if not line.is_routine]
    for indices in (_causes(lines, told), _causes(lines, errors), told, last):
        if indices:
            return _whole(lines, indices[-1])[:LONGEST]
    return ""


def _parsed(raw: str) -> _Line:
    match = _PREFIX.match(_COLOUR.sub("", raw.rstrip()))
    return _Line(match["level"] or "", match["text"]) if match else _Line("", raw)


def _causes(lines: list[_Line], indices: list[int]) -> list[int]:
    return [index for index in indices if not _ECHO.search(lines[index].text)]


def _whole(lines: list[_Line], index: int) -> str:
    """A line with the one that it announces: of some exceptions the first line says only that more follows."""
    text = lines[index].text.strip()
    following = lines[index + 1].text.strip() if index + 1 < len(lines) else ""
    if text.endswith(":"):
        return f"{text} {following}".strip()
    if not _VALIDATION.search(text):
        return text
    # pydantic: the field where there is one, then what is wrong with it and, in brackets, with which input.
    if "[type=" not in following and index + 2 < len(lines):
        following = f"{following}: {lines[index + 2].text.strip()}"
    return f"{text}: {_VALIDATION_END.sub('', following)}"

"""The lines of an engine's log that tell why it ended; pure, called where the log lies.

vLLM prints the same failure several times on its way up: the first exception of the core or of a worker is the cause,
`Engine core initialization failed. See root cause above.` is only its echo.
"""

import re

_PREFIX = re.compile(r"^(\([^)]*\)\s*)*((ERROR|CRITICAL)\s+\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\s+\[[^\]]*\]\s*)?")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Timeout)\b\s*:?.*")
_USAGE = re.compile(r"^\S+: error: .+")
_ECHO = re.compile(r"Engine core (initialization|proc)|EngineDeadError|See (root cause|stack trace) above|SystemExit")
_LONGEST = 500


def last_words(log: str) -> str:
    """The telling line of a log's tail, at most 500 characters; the last line that is not blank where none tells."""
    lines = [_PREFIX.sub("", line.strip()) for line in log.splitlines()]
    lines = [line for line in lines if line]
    told = [line for line in lines if _EXCEPTION.match(line) or _USAGE.match(line)]
    causes = [line for line in told if not _ECHO.search(line)]
    for found in (causes, told, lines):
        if found:
            return found[-1][:_LONGEST]
    return ""

"""Which lines of a long output tell why it failed. Pure; used by `launch` for its one-sentence errors."""

import re
from collections.abc import Sequence

from elastic_deploy.cluster.aws.refusals import aws_refusal, ssh_silence

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_DECORATION = re.compile(r"^[\s\-!<>\[\]0-9/]*(ERR|PANIC|ERROR)?[:\]\s]*|\s*!*$")
_TELLING = re.compile(r"error|exception|fail|denied|refused|cannot|not authorized|no such|unable|timed out", re.I)
_NOISE = re.compile(
    r"^Traceback|^\s+File \"|^\s+raise |see full stack trace|During handling of the above|"
    r"Failed to setup head node|SSH still not available|Exiting due to|^click\.|^SystemExit|"
    r"create_instances: Attempt failed",
    re.I,
)
_LOGGED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\t\S+ \S+ -- (?P<text>.*)$")
_STEP_FAILED = re.compile(r"^NodeUpdater: (?P<node>[^\s:]+): (?P<step>[A-Z][a-z ]*?) failed\b")
_ERROR, _SSH_ERROR = "Error message: ", "SSH command failed"
_QUOTES = ("Running `", "Full command is `")
_NO_WORDS = re.compile(
    r"^\s*$|^\+|^Shared connection to |^Connection to .* closed|Permanently added|cannot modify limit"
)
_MOST = 3
_WIDTH = 300


def telling_lines(output: str, error: str) -> str:
    """The last few lines of `output` that say why, and `error`, the program's own word, joined into one line.

    Empty where nothing tells. No more than three lines, 300 characters each. What AWS refused is told in its own words,
    with what mends it.
    """
    plain = _ESCAPES.sub("", output).splitlines()
    if refused := aws_refusal(plain):
        return refused
    if silence := ssh_silence(plain):
        return f"the head node is there, and {silence}"
    if failed := _failed_step(plain):
        return failed
    lines = [_plain(line) for line in output.splitlines() if not _NOISE.search(_ESCAPES.sub("", line))]
    said = [line for line in lines if line]
    telling = [line for line in said if _TELLING.search(line)] or said
    chosen: list[str] = []
    for line in [*telling[-_MOST:], _plain(error)]:
        if line and not any(line in other for other in chosen) and not _NOISE.search(line):
            chosen.append(line)
    return "; ".join(chosen[-_MOST:])


def _failed_step(lines: Sequence[str]) -> str:
    """The step of the head's set-up that failed, with its command's last words, never the command; "" if none did."""
    words, found, in_command = "", "", False
    for line in lines:
        logged = _LOGGED.match(line)
        if logged is None:
            if not in_command and not _NO_WORDS.search(line):
                words = line.strip().rstrip(".")[:_WIDTH]
            in_command = in_command and not line.rstrip().endswith("`")
            continue
        text = logged["text"]
        if match := _STEP_FAILED.match(text):
            step = match["step"].lower().replace("ray", "Ray")
            said = f": {words}" if words else ", and said nothing"
            found = f"the {step} failed on the head node {match['node']}{said}. Mend them in the cluster YAML"
        elif found and text.startswith(_ERROR) and _SSH_ERROR not in text:
            # A runner that shows no output says in its error what there is to say.
            return text.removeprefix(_ERROR)[:_WIDTH].rstrip(".")
        if text.startswith(_QUOTES):
            words, in_command = "", not text.endswith("`")
    return found


def hindrance(output: str) -> str:
    """What holds a launch up that still goes on, as a clause; empty where nothing is known to."""
    return ssh_silence(_ESCAPES.sub("", output).splitlines())


def _plain(line: str) -> str:
    text = _DECORATION.sub("", _ESCAPES.sub("", line)).strip().rstrip(".")
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."

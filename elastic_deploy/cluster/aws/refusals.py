"""What AWS refused while a head was launched, and why SSH does not reach it, from the launcher's output.

Pure; used by `cluster.telling`. `tests/cli/launcher_logs` has what Ray's launcher says, as it said it.
"""

import re
from collections.abc import Sequence

from elastic_deploy.core.refusals import mend, other_zones

_LAUNCH = re.compile(r"^(?:\S+\.)?NodeLaunchException: Node Launch Exception \((?P<code>[^)]*)\): *(?P<message>.*)$")
_TRY = re.compile(
    r"create_instances: Attempt failed with An error occurred \((?P<code>[^)]*)\) when calling [^:]*: (?P<message>.*), "
    r"retrying\.$"
)
_CALL = re.compile(
    r"An error occurred \((?P<code>[^)]*)\) when calling the (?P<operation>\w+) operation"
    r"(?: \(reached max retries: \d+\))?: (?P<message>.*)$"
)
_ZONE = re.compile(r"\b[a-z]{2}(?:-[a-z]+)+-\d[a-z]\b")
_ADVICE = re.compile(r"You can currently get .*$")
_SSH_WAIT = re.compile(r"Waiting for SSH to become available")
_SSH_WORDS = re.compile(r"^(?:ssh: connect to host |[^\s@]+@)(?P<address>[\w.:-]+?)(?: port \d+)?: (?P<words>.+?)\.?$")
_SSH_REACHED = re.compile(r"\bSUCC\b|Updating cluster configuration")
_LAUNCHED = re.compile(r"Setting up head node")


def aws_refusal(lines: Sequence[str]) -> str:
    """The last refusal that the lines tell of, its code, zones, text and mend; without a last full stop.

    Empty where AWS refused nothing. `lines` have neither colours nor more than one message each.
    """
    launched = next((index for index, line in enumerate(lines) if _LAUNCHED.search(line)), 0)
    for line in reversed(lines[launched:]):  # what was refused before a head was there was overcome
        if match := _LAUNCH.match(line):
            tries = [found for other in lines if (found := _TRY.search(other)) and found["code"] == match["code"]]
            zones = _zones([*(found["message"] for found in tries), match["message"]])
            return _sentence("EC2 refused the head node", match["code"], match["message"], zones)
        if (match := _CALL.search(line)) and not _TRY.search(line):
            return _sentence(f"AWS refused {match['operation']}", match["code"], match["message"], "")
    return ""


def _zones(messages: Sequence[str]) -> str:
    named = [zone for message in messages for zone in _ZONE.findall(_ADVICE.sub("", message))]
    return ", ".join(dict.fromkeys(named))


def _sentence(what: str, code: str, message: str, zones: str) -> str:
    where = f" in {zones}" if zones else ""
    text = message.strip().rstrip(".")
    return ". ".join([f"{what}: {code}{where}: {text}", *_help(code, message)])


def _help(code: str, message: str) -> list[str]:
    sentence = mend(code, message, other_zones(message)).rstrip(".")
    return [sentence] if sentence else []


def ssh_silence(lines: Sequence[str]) -> str:
    """What SSH said when it last did not reach the head, as a clause; empty where it reached it or was not tried.

    Ray tries every five seconds for 15 minutes (AUTOSCALER_NODE_START_WAIT_S).
    """
    waits = [index for index, line in enumerate(lines) if _SSH_WAIT.search(line)]
    if not waits or any(_SSH_REACHED.search(line) for line in lines[waits[-1] :]):
        return ""
    # SSH's own words and Ray's output are two streams: what SSH says stands before or behind Ray's lines.
    said = [match for line in lines if (match := _SSH_WORDS.match(line))]
    if not said:
        return ""
    last = said[-1]
    tries = sum(1 for match in said if match["address"] == last["address"])
    return (
        f"SSH does not reach it at {last['address']}: {last['words']}, {tries} time{'' if tries == 1 else 's'};"
        " look after port 22 of the security group for this machine's address, the key, and the user of the image"
    )

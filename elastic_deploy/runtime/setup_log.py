"""Nodes whose set-up does not go well, from the lines of Ray's node updaters on the head.

The GCS says of such a node that Ray is being installed on it, for minutes, and then no more. The updaters' output has
the step that failed and what its command said; SSH's own words name the address. What is told are a command's last
words, never the command. Read by the observer.

Where several nodes are set up at once, their output is mixed: what stands right before a failure is taken for its
words, which another node's output can come between.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from elastic_deploy.model.snapshot import SetupState, SetupStep, SetupTrouble
from elastic_deploy.runtime.monitor_log import Line

SSH_PATIENCE = 60.0
"""Seconds for which a node that does not answer SSH is taken to boot: an EC2 instance answers after 20 to 50."""

WORDS_LINES = 3
WORDS_LENGTH = 300

_NODE = r"(?P<node>[^\s:,')]+)"
_STATUS = re.compile(r"Set tag ray-node-status=(?P<status>\S+) on \[(?P<nodes>[^\]]+)\]")
"""The AWS provider sets the tags of several nodes in one call where they come together, as a gang's do."""
_GONE = re.compile(r"detected as terminated")
_STEP_FAILED = re.compile(r"^NodeUpdater: " + _NODE + r": (?P<step>[A-Z][a-z]+(?: [a-z]+)*) failed\b")
_SHELL = re.compile(r"^NodeUpdater: " + _NODE + r": Got remote shell\b")
_FETCHED = re.compile(r"^Fetched IP: (?P<address>\S+)$")
_GOT_ADDRESS = re.compile(r"^NodeUpdater: " + _NODE + r": Got IP\b")
_ERROR = re.compile(r"^Error message: (?P<words>.+)$")
_UPDATE = re.compile(
    r"^Update instance \w+->(?P<status>\w+) \(id=(?P<id>[^,]+), type=(?P<type>[^,]*), "
    r"cloud_instance_id=(?P<node>[^,]*),"
)
_ALLOCATED = re.compile(r": allocated unassigned cloud instance (?P<node>\S+)$")
_FAILED = re.compile(r"^Ray installation failed on instance " + _NODE + r": (?P<words>.*)$")
_SSH_WORDS = re.compile(r"^(?:ssh: connect to host |[^\s@]+@)(?P<address>[\w.:-]+?)(?: port \d+)?: (?P<words>.+)$")

_STEPS = {"waiting-for-ssh": "SSH", "syncing-files": "the file mounts", "setting-up": "the set-up"}
_SEEN = {"waiting-for-ssh": SetupStep.SSH, "syncing-files": SetupStep.FILES, "setting-up": SetupStep.SETUP}
_NAMES = {
    "Initialization commands": "an initialization command",
    "Setup commands": "a setup command",
    "Ray start commands": "the start of Ray",
}
_NOISE = re.compile(
    r"\.bashrc: No such file|ulimit: .*cannot modify|Permanently added|^Shared connection to|^\s*\d\d:\d\d:\d\d up |"
    r"^Connection to .* closed|^bash: (?:cannot set terminal process group|no job control)"
)
_NO_WORDS = re.compile(r"unexpected status|^SSH command failed\.?$|^(?:\w+ )+command failed\.?$", re.I)


@dataclass
class _Node:
    type: str = ""
    address: str = ""
    step: str = ""
    words: str = ""
    attempt: int = 0
    since: float = 0.0
    waits: bool = False
    seen: SetupStep | None = None


class SetupLog:
    """How far the nodes have come, from line to line."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._ids: dict[str, str] = {}
        self._block: list[str] = []
        self._addresses: list[str] = []
        self._last_failed = ""
        self._ssh_words: dict[str, str] = {}

    def read(self, lines: Iterable[Line], now: float) -> list[SetupTrouble]:
        """The failures that the next lines tell of, oldest first."""
        found: list[SetupTrouble] = []
        for line in lines:
            at = now if line.at is None else min(now, line.at)
            if line.kind == "log":
                found += self._autoscaler(line.text, at)
            elif line.kind == "err":
                if match := _SSH_WORDS.match(line.text):
                    self._ssh_words[match["address"]] = match["words"].strip().rstrip(".")
            elif line.at is None:
                self._block.append(line.text)
            else:
                self._updater(line.text, at)
                self._block = []
        return found

    def waiting(self, now: float) -> list[SetupTrouble]:
        """The nodes that have not answered SSH for longer than a boot takes."""
        late = [(id_, node) for id_, node in self._nodes.items() if node.waits and now - node.since >= SSH_PATIENCE]
        return [self._trouble(id_, node, SetupState.WAITING, node.since + SSH_PATIENCE) for id_, node in late]

    def cloud_id(self, instance: str) -> str:
        """The cloud's id of a node that the autoscaler knows by an id of its own; that one where it is not known."""
        return self._ids.get(instance, instance)

    def step(self, id_: str) -> SetupStep | None:
        """How far the set-up of a node is, by the cloud's id of it; None where nothing was seen of it."""
        node = self._nodes.get(id_)
        return node.seen if node else None

    def _trouble(self, id_: str, node: _Node, state: SetupState, at: float) -> SetupTrouble:
        address = node.address or (self._only_address() if node.step == "SSH" else "")
        words = node.words or (self._ssh_words.get(address, "") if node.step == "SSH" else "")
        return SetupTrouble(id_, node.type, address, node.step, words, state, node.attempt, node.since, at)

    def _only_address(self) -> str:
        """The address that SSH complains of and that is no other node's; empty where there are several."""
        taken = {node.address for node in self._nodes.values()}
        left = [address for address in self._ssh_words if address not in taken]
        return left[0] if len(left) == 1 else ""

    def _updater(self, text: str, at: float) -> None:
        if match := _STATUS.search(text):
            for id_ in re.findall(r"[^\s',]+", match["nodes"]):
                self._reached(id_, match["status"], at)
        elif (match := _SHELL.match(text)) and match["node"] in self._nodes:
            self._nodes[match["node"]].waits = False
        elif match := _FETCHED.match(text):
            self._addresses.append(match["address"])
        elif match := _GOT_ADDRESS.match(text):
            # Of several that were printed before their nodes, which is whose is not known.
            if len(set(self._addresses)) == 1 and match["node"] in self._nodes:
                self._nodes[match["node"]].address = self._addresses[0]
            self._addresses.clear()
        elif (match := _STEP_FAILED.match(text)) and match["node"] in self._nodes:
            node = self._nodes[match["node"]]
            node.step = _NAMES.get(match["step"], node.step)
            node.words = _last_words(self._block)
        elif (match := _ERROR.match(text)) and (failed := self._nodes.get(self._last_failed)):
            failed.words = failed.words or ("" if _NO_WORDS.search(match["words"]) else match["words"].strip())

    def _reached(self, id_: str, status: str, at: float) -> None:
        node = self._nodes.setdefault(id_, _Node())
        node.waits = status == "waiting-for-ssh"
        node.seen = _SEEN.get(status, node.seen)
        if node.waits:
            node.attempt, node.since, node.words = node.attempt + 1, at, ""
        node.step = _STEPS.get(status, node.step)
        self._last_failed = id_ if status == "update-failed" else self._last_failed

    def _autoscaler(self, text: str, at: float) -> list[SetupTrouble]:
        if match := _FAILED.match(text):
            if _GONE.search(match["words"]):
                self._nodes.pop(match["node"], None)  # it was ended while it was set up, which is told elsewhere
                return []
            node = self._nodes.setdefault(match["node"], _Node(attempt=1, since=at, step="the set-up"))
            node.waits = False
            node.words = node.words or ("" if _NO_WORDS.search(match["words"]) else match["words"].strip())
            return [self._trouble(match["node"], node, SetupState.RETRYING, at)]
        if not (match := _UPDATE.match(text)):
            return []
        allocated = _ALLOCATED.search(text)
        id_ = allocated["node"] if allocated else match["node"]
        if id_:
            self._ids[match["id"]] = id_
        if match["status"] == "RAY_INSTALLING":
            self._nodes.setdefault(id_, _Node()).type = match["type"]
        elif match["status"] == "RAY_INSTALL_FAILED" and id_ in self._nodes:
            return [self._trouble(id_, self._nodes.pop(id_), SetupState.GAVE_UP, at)]
        elif match["status"] in ("RAY_RUNNING", "TERMINATING", "TERMINATED"):
            self._nodes.pop(id_, None)
        if match["status"] == "TERMINATED":
            self._ids.pop(match["id"], None)
        return []


def _last_words(block: list[str]) -> str:
    said = [line.strip().rstrip(".") for line in block if line.strip() and not _NOISE.search(line)]
    words = "; ".join(said[-WORDS_LINES:])
    return words if len(words) <= WORDS_LENGTH else f"{words[: WORDS_LENGTH - 3]}..."

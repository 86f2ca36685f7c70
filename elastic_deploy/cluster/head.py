"""The way to a cluster's head: a command is run there, which speaks JSON lines. No port is opened for it.

Called by `cli`. What may be asked is the agent's to say (`runtime.agent`): here are the verbs' transport, its errors
and its limits. Knows nothing of Ray: for nodes on this machine it reads the local state, for others it asks a
`launcher` process.
"""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elastic_deploy.cluster import launch
from elastic_deploy.cluster.agent_process import AgentProcess, SilentError
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.local import state
from elastic_deploy.cluster.remote_shell import remote_command
from elastic_deploy.model.errors import (
    EngineFailedError,
    InvalidConfigError,
    NeverFitsError,
    RefusedError,
    UsageError,
    UserError,
    WaitTimeoutError,
)

AGENT = "exec python -m elastic_deploy.runtime.agent"
_NO_PACKAGE = "No module named 'elastic_deploy'"
"""Python's word where the package is not installed (`runpy` says so for `-m elastic_deploy.runtime.agent`)."""

CALL_TIMEOUT_S = 30.0
"""How long an answer may take: an SSH connection to a loaded head takes seconds, an answer none."""

_ERRORS: dict[int, type[UserError]] = {
    error.code: error
    for error in (
        UsageError,
        InvalidConfigError,
        NeverFitsError,
        WaitTimeoutError,
        EngineFailedError,
        RefusedError,
    )
}


class AgentMissingError(RefusedError):
    """The head runs, and our package is not on it."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head node that runs. `command_line` makes, of a shell command, the arguments that run it there."""

    cluster: str
    command_line: Callable[[str], Sequence[str]]

    def call(self, verb: str, payload: dict[str, Any] | None = None, timeout: float = CALL_TIMEOUT_S) -> dict[str, Any]:
        """The agent's one answer, within `timeout` seconds.

        Raises the UserError that the agent names, and RefusedError where the head cannot be reached or stays silent.
        """
        with self.open(verb, payload) as conversation:
            for answer in conversation.answers(timeout, timeout):
                return answer
        raise RefusedError(f"The head of {self.cluster} gave no answer to {verb}: see `elastic-deploy logs`.")

    def stream(
        self, verb: str, payload: dict[str, Any] | None = None, silence: float | None = CALL_TIMEOUT_S
    ) -> Iterator[dict[str, Any]]:
        """The agent's answers as they come; it may be silent for `silence` seconds, None: as long as it likes.

        Raises as `call` does. Closing the iterator ends the agent's process.
        """
        with self.open(verb, payload) as conversation:
            yield from conversation.answers(silence, None)

    def open(self, verb: str, payload: dict[str, Any] | None = None) -> "Conversation":
        """Start the agent for one verb; to be used as a context. Raises RefusedError where it cannot be started."""
        arguments = self.command_line(f"{AGENT} {shlex.quote(verb)}")
        try:
            return Conversation(self.cluster, verb, AgentProcess(arguments, payload or {}))
        except OSError as error:
            raise RefusedError(
                f"The head of {self.cluster} cannot be reached: {arguments[0]} cannot be run ({error.strerror})."
            ) from error


class Conversation:
    """One verb's answers, while the agent's process runs."""

    def __init__(self, cluster: str, verb: str, process: AgentProcess) -> None:
        self._cluster, self._verb, self._process = cluster, verb, process

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *error: Any) -> None:
        self._process.__exit__(*error)

    def end(self) -> None:
        """End the agent's process; whoever waits for an answer then gets none. Thread-safe."""
        self._process.end()

    def answers(self, silence: float | None, total: float | None) -> Iterator[dict[str, Any]]:
        """Each answer's content. Raises as `Head.call` does."""
        try:
            for line in self._process.lines(silence, total):
                yield decode(line, self._cluster)
        except SilentError:
            seconds = min(limit for limit in (silence, total) if limit is not None)
            raise RefusedError(
                f"The head of {self._cluster} has not answered {self._verb} within {seconds:.0f} s: it is overloaded or"
                " cannot be reached. Try again, or take the cluster down."
            ) from None
        status = self._process.exit_status()
        if status:
            words = self._process.last_words()
            if _NO_PACKAGE in words:
                raise AgentMissingError(
                    f"The head of {self._cluster} runs without elastic-deploy: `elastic-deploy up` brings it there."
                )
            raise RefusedError(
                f"The head of {self._cluster} could not carry out {self._verb}"
                f" ({words or f'its agent ended with status {status}'}): run `up` again, or take the cluster down."
            )


def decode(line: str, cluster: str) -> dict[str, Any]:
    """What one line of the agent says. Raises the UserError that it carries, RefusedError for what is no answer."""
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("ok"), dict):
        return dict(answer["ok"])
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        code, message = answer["error"].get("code"), str(answer["error"].get("message"))
        raise (_ERRORS.get(code, UserError) if isinstance(code, int) else UserError)(message)
    raise RefusedError(f"The head of {cluster} answered with something else than its agent's words: {line[:200]!r}.")


def find_head(config: ClusterConfig) -> Head | None:
    """The cluster's head, if there is one on which Ray has been started; the cloud may be asked for it.

    Raises RefusedError where the cloud refuses to tell.
    """
    if config.provider_kind == "local":
        node = next((node for node in state.live_nodes(config.name) if node.is_head), None)
        if node is None or node.up_since is None:
            return None
        shell = state.shell_command(config.name, node.id)
        return Head(config.name, lambda command: [*shell, command])
    remote = launch.head_shell(config)
    return None if remote is None else Head(config.name, lambda command: remote_command(remote, command))

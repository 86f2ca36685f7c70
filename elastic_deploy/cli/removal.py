"""Takes a cluster down, or stops one of its deployments: the work of `down`, and of an `up` that is given up."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.head import Head, find_head
from elastic_deploy.cluster.records import keep_records
from elastic_deploy.cluster.teardown import Found, end, end_shared, find, forget_secrets
from elastic_deploy.cluster.turn import turn
from elastic_deploy.model.errors import RefusedError, UsageError, UserError

STOP_LIMIT_S = 90.0
"""How long engines may take to end: half a minute for what they were asked (`core.drain`), then vLLM's own seconds.
What has not ended by then is ended with its node."""

_CALL_S = 15.0
_POLL_S = 0.5


def take_down(
    config: ClusterConfig, say: Callable[[str], None], found: Found | None = None, *, everything: bool = False
) -> bool:
    """End everything of the cluster but its logs and journal, and prove it; whether anything had to be ended.

    `found`: what stands, if it is known. With `everything`, what outlives a cluster on purpose goes too. A head that is
    dead or silent is said, and does not stop it. Raises RefusedError where something is left.
    """
    with turn(config.name, "taking down"):
        stands = found or find(config)
        if stands.not_asked:
            say(stands.not_asked)
        if stands.anything and stands.may_ask_head:
            _close(config, say)
        ended = end(config, say, stands.anything)
        forget_secrets(config.name)
        if everything:
            end_shared(config, say)
    return ended


def _close(config: ClusterConfig, say: Callable[[str], None]) -> None:
    """Let the head, if there is one that answers, stop its deployments and give its records."""
    said: set[str] = set()

    def say_once(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    head = None
    with _tolerated(say_once):
        head = find_head(config)
    if head:
        with _tolerated(say_once):
            stop(head, None, say)
        with _tolerated(say_once):
            keep_records(head)


def stop(head: Head, name: str | None, say: Callable[[str], None]) -> list[str]:
    """Stop one deployment, or all for None, and wait until nothing of it runs; the names of those that still did.

    Raises UsageError for a deployment that the cluster does not know, RefusedError after `STOP_LIMIT_S` seconds.
    """
    answer = head.call("stop", {"deployment": name}, _CALL_S)
    if name is not None and not answer.get("known", True):
        raise UsageError(f"Cluster {head.cluster} has no deployment {name}: `elastic-deploy status` lists them.")
    names = list(answer["stopped"])
    if names:
        say(f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} being stopped.")
    deadline = time.monotonic() + STOP_LIMIT_S
    while running := _with_replicas(head, name):
        if time.monotonic() > deadline:
            raise RefusedError(f"{' and '.join(running)} did not stop within {STOP_LIMIT_S:.0f} s.")
        time.sleep(_POLL_S)
    return names


def _with_replicas(head: Head, name: str | None) -> list[str]:
    deployments = head.call("status", timeout=_CALL_S)["deployments"]
    return [each["name"] for each in deployments if each["replicas"] and name in (None, each["name"])]


@contextmanager
def _tolerated(say: Callable[[str], None]) -> Iterator[None]:
    """Say a UserError and go on: what it stands before is worth trying, and not worth stopping for."""
    try:
        yield
    except UserError as error:
        say(error.message)

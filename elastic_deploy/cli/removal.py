"""Takes a cluster down, or stops one of its deployments: the work of `down`, and of an `up` that is given up."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from elastic_deploy.cluster import launch
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.head import Head, find_head
from elastic_deploy.cluster.records import keep_records
from elastic_deploy.cluster.teardown import forget_secrets, left_of, standing
from elastic_deploy.cluster.turn import turn
from elastic_deploy.model.errors import RefusedError, UsageError, UserError

STOP_LIMIT_S = 90.0
"""How long engines may take to end: half a minute for what they were asked (`core.drain`), then vLLM's own seconds.
What has not ended by then is ended with its node."""

_CALL_S = 15.0
_PROOF_LIMIT_S = 10.0
_POLL_S = 0.5


def exists(config: ClusterConfig) -> bool:
    """Whether anything of the cluster may stand. A cloud is not asked: the answer for one is always yes."""
    return config.provider_kind != "local" or bool(standing(config).nodes)


def take_down(config: ClusterConfig, say: Callable[[str], None]) -> None:
    """End everything of the cluster but its logs and journal, and prove it.

    A head that is dead or silent is said, and does not stop it. Raises RefusedError where something is left.
    """
    with turn(config.name, "taking down"):
        before = standing(config)
        head = None
        with _tolerated(say):
            head = find_head(config)
        if head:
            with _tolerated(say):
                stop(head, None, say)
            with _tolerated(say):
                keep_records(head)
        say("The nodes are being ended.")
        launch.tear_down(config, say)
        deadline = time.monotonic() + _PROOF_LIMIT_S
        while (left := left_of(before)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if left:
            raise RefusedError(
                f"Of {config.name} there is still {', '.join(left[:5])}: run `down` again. The output of Ray's"
                f" launcher is in {launch.launch_log(config.name, 'down')}."
            )
        forget_secrets(config.name)


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

"""Follows one deployment until it serves or has failed: what `up` waits in.

The deadlines are the supervisor's, which goes on whether or not anybody follows; the limit here is how long the head
may stay silent.
"""

import time
from dataclasses import dataclass
from typing import Any, Protocol

from elastic_deploy.cli.event_tail import EventTail
from elastic_deploy.cluster.head import Head
from elastic_deploy.model.errors import EngineFailedError, RefusedError, UserError, WaitTimeoutError
from elastic_deploy.model.memory import FailureKind
from elastic_deploy.model.phase import Phase

SERVING = (Phase.READY, Phase.DEGRADED)
SILENCE_LIMIT_S = 120.0
"""A head whose supervisor is being restarted answers again after seconds, one that swaps after a minute."""

_STALE_S = 3.0  # the supervisor decides at least once a second: by then a change has shown in the status
_LAST_EVENTS_S = 0.5


class Watch(Protocol):
    """Who is shown what happens. `pace` is the seconds between two looks at the status."""

    pace: float

    def event(self, event: dict[str, Any]) -> None:
        """Something happened."""

    def status(self, document: dict[str, Any], deployment: dict[str, Any]) -> None:
        """The status was looked at."""

    def trouble(self, sentence: str) -> None:
        """The head does not answer at present."""


@dataclass(frozen=True, slots=True)
class Before:
    """How the deployment stood before it was applied: that it serves, or has failed, may be old news."""

    phase: str = ""
    failure: Any = None

    @staticmethod
    def of(deployment: dict[str, Any] | None) -> "Before":
        """The standing in a status document's deployment."""
        return Before(deployment["phase"], deployment.get("failure")) if deployment else Before()


class DeploymentFailedError(Exception):
    """The deployment has failed. `error` is what the user is told, `deployment` its last status.

    `restored`: only the change has; what was before serves on, or is being brought back.
    """

    def __init__(self, error: UserError, deployment: dict[str, Any], *, restored: bool = False) -> None:
        super().__init__(error.message)
        self.error, self.deployment, self.restored = error, deployment, restored


def find_deployment(document: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The deployment of that name in a status document."""
    return next((each for each in document["deployments"] if each["name"] == name), None)


def follow(head: Head, name: str, after: str | None, before: Before, watch: Watch) -> dict[str, Any]:
    """Wait until the deployment serves, and return its status.

    `after` is the journal's last event before it was applied. Raises DeploymentFailedError, and RefusedError where
    the head is silent for too long.
    """
    began = heard = time.monotonic()
    looked = 0.0
    with EventTail(head, after) as tail:
        while True:
            events = tail.wait(max(0.1, looked + watch.pace - time.monotonic()))
            for event in events:
                watch.event(event)
            now = time.monotonic()
            if now - looked < watch.pace and not any(event.get("deployment") == name for event in events):
                continue
            try:
                document = head.call("status")
            except RefusedError as error:
                if now - heard > SILENCE_LIMIT_S:
                    raise
                watch.trouble(error.message)
                looked = time.monotonic()
                continue
            heard = looked = time.monotonic()
            deployment = find_deployment(document, name)
            if deployment is None:
                raise RefusedError(f"Deployment {name} is not there any more: another command has removed it.")
            watch.status(document, deployment)
            if heard - began < _STALE_S and Before.of(deployment) == before:
                continue
            if _is_over(deployment):
                for event in tail.wait(_LAST_EVENTS_S):
                    watch.event(event)
                return _outcome(name, deployment)


def _is_over(deployment: dict[str, Any]) -> bool:
    """Whether nothing more is to be waited for: a change is over when it is rolled out, or given up."""
    rollout = deployment.get("rollout")
    if deployment["phase"] in SERVING and rollout:
        return bool(rollout["state"] == "given_up")
    return deployment["phase"] in (*SERVING, Phase.FAILED, Phase.STOPPED)


def _outcome(name: str, deployment: dict[str, Any]) -> dict[str, Any]:
    if deployment["phase"] in SERVING:
        if refused := (deployment.get("rollout") or {}).get("failure"):
            raise DeploymentFailedError(_error(refused, refused["message"]), deployment, restored=True)
        return deployment
    failure = deployment.get("failure") or {}
    message = str(failure.get("message") or deployment["reason"])
    if deployment["phase"] == Phase.STOPPED:
        stopped = RefusedError(f"Deployment {name} was stopped by another command while this one waited for it.")
        raise DeploymentFailedError(stopped, deployment)
    raise DeploymentFailedError(_error(failure, message), deployment)


def _error(failure: dict[str, Any], message: str) -> UserError:
    return WaitTimeoutError(message) if failure.get("kind") == FailureKind.WAIT_TIMEOUT else EngineFailedError(message)

"""`doctor`'s checks on a cluster that runs: asked of the agent on the head, which measures and judges there.

Called by `cli.doctor`.
"""

from typing import Any

from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.head import find_head
from elastic_deploy.model.check import Check, Verdict
from elastic_deploy.model.errors import ExitCode, RefusedError

CHECKS_WITHIN_S = 300.0
"""Four rounds of at most a minute each, a second a link, and an SSH connection."""


def running_checks(config: ClusterConfig) -> tuple[Check, ...]:
    """The checks of the cluster as it runs; none where it has no head. A head that cannot be asked has failed one."""
    try:
        head = find_head(config)
    except RefusedError as error:
        return (Check("head", Verdict.UNKNOWN, f"Whether {config.name} has a head is not known: {error.message}"),)
    if head is None:
        return ()
    try:
        answer = head.call("doctor", timeout=CHECKS_WITHIN_S)
    except RefusedError as error:
        mend = "Look at `elastic-deploy status`; where the head does not answer that either, terminate it."
        return (Check("head", Verdict.FAILURE, error.message, mend),)
    return tuple(_check(each) for each in answer["checks"])


def _check(told: dict[str, Any]) -> Check:
    return Check(told["name"], Verdict(told["verdict"]), told["sentence"], told["mend"], ExitCode(told["code"]))

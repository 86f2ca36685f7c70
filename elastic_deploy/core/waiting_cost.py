"""How long a node has been there without serving anybody, and what that has cost: what waiting has cost so far.

Pure, from the steps that the journal tells; called by `core.waiting` for the ledger.
"""

from collections.abc import Iterable, Mapping

from elastic_deploy.core.steps import Step, Track
from elastic_deploy.model.spec import ClusterSpec

_UNPAID = "asked"
"""The one step in which the cloud has not taken the order yet, so that nothing is paid."""


def unserved(node: Track, replicas: Mapping[str, Track], now: float) -> float:
    """Seconds since the cloud took the order for a node in which no replica that it holds bundles of has served."""
    paid = [_span(step, now) for step in node.steps if step.name != _UNPAID]
    if not paid:
        return 0.0
    held = [_span(step, now) for step in node.steps if step.name in ("placed", "draining")]
    ready = [
        _span(step, now)
        for name in node.replicas
        if (replica := replicas.get(name)) is not None
        for step in replica.steps
        if step.name in ("ready", "draining")
    ]
    served = [(max(a, c), min(b, d)) for a, b in held for c, d in ready]
    return sum(until - since for since, until in paid) - _covered(served)


def _span(step: Step, now: float) -> tuple[float, float]:
    return step.since, max(step.since, now if step.until is None else step.until)


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in any of the spans, which may overlap."""
    covered, end = 0.0, float("-inf")
    for since, until in sorted(spans):
        covered += max(0.0, until - max(since, end))
        end = max(end, until)
    return covered


def prices_of(spec: ClusterSpec) -> dict[str, float]:
    """USD an hour of each node type of which any deployment knows the price."""
    found = {node_type: usd for deployment in spec.deployments for node_type, usd in deployment.found_prices}
    return found | {node_type: usd for deployment in spec.deployments for node_type, usd in deployment.prices}

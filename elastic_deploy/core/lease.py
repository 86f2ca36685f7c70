"""For how long a cluster's GPUs are kept when nobody supervises it any more. Pure; asked by `runtime.supervisor`."""

from elastic_deploy.model.memory import Memory
from elastic_deploy.model.spec import ClusterSpec

UNSAID = 600.0
"""Seconds for what is left of deployments of which nothing is known any more."""


def is_leased(spec: ClusterSpec, memory: Memory) -> bool:
    """Whether there is anything that must not outlive its supervisor: a request, or what is left of a deployment."""
    remains = any(deployment.replicas for deployment in memory.deployments)
    return bool(memory.request) or remains or any(deployment.wanted for deployment in spec.deployments)


def lease_term(spec: ClusterSpec) -> float | None:
    """The longest that any deployment allows, in seconds; None for ever.

    Deployments that nobody wants any more still say it, until what is left of them has gone.
    """
    wanted = [deployment.lease for deployment in spec.deployments if deployment.wanted]
    terms = wanted or [deployment.lease for deployment in spec.deployments]
    known = [term for term in terms if term is not None]
    return max(known, default=UNSAID) if len(known) == len(terms) else None

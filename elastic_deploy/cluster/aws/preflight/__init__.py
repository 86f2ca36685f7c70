"""What can be found out before anything is launched: credentials, quota, images, keys, network, rights, model.

`preflight` is called by `doctor`, and the cheap part of `on_aws` by `up`. It asks at once (`gather`), and judges purely
(the modules of checks, each a function of what the YAML wants and of the facts).
"""

from collections.abc import Callable
from dataclasses import replace

from elastic_deploy.cluster.aws.preflight import access, deployment, files, here, machines, network, standing
from elastic_deploy.cluster.aws.preflight.facts import Facts, Unknown
from elastic_deploy.cluster.aws.preflight.gather import gather
from elastic_deploy.cluster.aws.preflight.wanted import Wanted, read_wanted
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.model.check import Check
from elastic_deploy.model.plan import Plan

CHEAP: tuple[Callable[[Wanted, Facts], tuple[Check, ...]], ...] = (
    standing.region,
    standing.placeholders,
    machines.instance_types,
    machines.quota,
    machines.images,
    machines.efa,
    access.private_key,
    access.key_pair,
    access.file_mounts,
    network.subnets,
    network.addresses,
    network.security_groups,
    access.role,
)
"""The checks that `up` makes too, in the order in which they are shown."""

THOROUGH: tuple[Callable[[Wanted, Facts], tuple[Check, ...]], ...] = (
    machines.zones,
    machines.placement,
    access.rights,
)
"""The checks whose answers `gather` leaves out where it is to be cheap."""

_WITHOUT_AWS = (standing.placeholders, access.private_key, access.file_mounts)


def preflight(config: ClusterConfig, model: str | None = None, gpus: int | None = None) -> tuple[Check, ...]:
    """Every check that can be made before a launch. Starts nothing, changes nothing, raises for nothing that it finds.

    `model` and `gpus` go before what the YAML says.
    """
    about_deployment, plan = deployment.deployment(config, model, gpus)
    if config.provider_kind == "local":
        return (*about_deployment, *here.here())
    if config.provider_type != "aws":
        return about_deployment
    return (*on_aws(config, plan), *about_deployment)


def on_aws(config: ClusterConfig, plan: Plan | None, *, cheap: bool = False) -> tuple[Check, ...]:
    """The checks on AWS. `plan` says how many nodes are asked for; without one the limits of the YAML are held against
    the quota, which then only warns. `cheap`: a second or two in all."""
    wanted = read_wanted(config, {each.node_type: each.count for each in plan.nodes} if plan else None)
    facts = replace(
        gather(wanted, config.raw["provider"].get("aws_credentials") or {}, cheap=cheap),
        private_key=files.file_fact(wanted.private_key) if wanted.private_key else None,
        public_key=files.public_key(wanted.private_key),
        mounts=files.mounts(config),
    )
    return judge(wanted, facts, cheap=cheap)


def judge(wanted: Wanted, facts: Facts, *, cheap: bool = False) -> tuple[Check, ...]:
    """The checks on AWS, from facts. Pure. Without credentials only those that need no answer are made."""
    who = standing.credentials(wanted, facts)
    if isinstance(facts.identity, Unknown):
        return (*who, *(check for each in _WITHOUT_AWS for check in each(wanted, facts)))
    checks = CHEAP if cheap else (*CHEAP, *THOROUGH)
    return (*who, *(check for each in checks for check in each(wanted, facts)))

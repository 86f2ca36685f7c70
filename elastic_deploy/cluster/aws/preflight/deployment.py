"""Checks on the deployment that is asked for: has the YAML room for it, and are its weights there. Any provider."""

from pathlib import Path

from elastic_deploy.cluster.aws.preflight.verdicts import failure, passed
from elastic_deploy.cluster.aws.preflight.weights import fits, weights
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.model_facts import model_facts
from elastic_deploy.cluster.model_hub import ask_hub
from elastic_deploy.model.check import Check
from elastic_deploy.model.errors import ExitCode, NeverFitsError, UserError
from elastic_deploy.model.plan import Plan
from elastic_deploy.model.shape import ModelFacts
from elastic_deploy.planning.plan import plan
from elastic_deploy.planning.request import merge
from elastic_deploy.planning.settings import Settings
from elastic_deploy.rehearsal.engine_arguments import model_path


def deployment(config: ClusterConfig, model: str | None, gpus: int | None) -> tuple[tuple[Check, ...], Plan | None]:
    """The checks, and the plan where there is one. Nothing is asked for without a number of GPUs."""
    wanted, number = model or config.settings.model, gpus or config.settings.gpus
    found = weights(config, wanted, ask_hub) if wanted else None
    checks = (found.check,) if found else ()
    # The plan is to be `up`'s, which goes by what lies on this machine alone.
    facts = model_facts(Path(model_path(wanted)).expanduser()) if wanted else ModelFacts()
    if number is None:
        return checks, None
    # How many nodes are needed does not depend on which model it is, unless its size is known.
    asked = Settings(model=wanted or "any", gpus=number)
    try:
        planned = plan(config.capacity, merge(config.settings, asked), facts)
    except NeverFitsError as error:
        mend = "Ask for what the node types can hold, or give the YAML more or larger nodes."
        return (*checks, failure("room", error.message, mend, ExitCode.NEVER_FITS)), None
    except UserError as error:
        return (*checks, failure("room", error.message, "Mend the setting that it names.")), None
    nodes = ", ".join(f"{each.count} of {each.node_type}" for each in planned.nodes)
    room = passed("room", f"{number} GPUs are {nodes or 'nodes that are there already'}.")
    return (*checks, room, *fits(planned, memories(config), found.weight_bytes if found else None)), planned


def before_launch(config: ClusterConfig, model: str, planned: Plan) -> tuple[Check, ...]:
    """The quick ones for `up`, which has made its plan: nobody is asked, and what stays unknown is not dwelt upon."""
    found = weights(config, model)
    return (found.check, *fits(planned, memories(config), found.weight_bytes))


def memories(config: ClusterConfig) -> dict[str, int | None]:
    """A GPU's bytes by node type, None where they are not known."""
    return {each.name: each.gpu_memory_bytes for each in config.capacity.node_types}

"""Checks on the deployment that is asked for: does the YAML have room for it, and is its model there. Any provider.

The hub is not asked: what a hub id's weights weigh stays unknown.
"""

from pathlib import Path

from elastic_deploy.cluster.aws.preflight.facts import Unknown
from elastic_deploy.cluster.aws.preflight.verdicts import failure, passed, unknown
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.model_facts import model_facts
from elastic_deploy.model.check import Check
from elastic_deploy.model.errors import ExitCode, NeverFitsError, UserError
from elastic_deploy.model.shape import Plan
from elastic_deploy.planning.plan import plan
from elastic_deploy.planning.request import merge
from elastic_deploy.planning.settings import Settings
from elastic_deploy.rehearsal.engine_arguments import model_path

_GIB = 2**30


def deployment(config: ClusterConfig, model: str | None, gpus: int | None) -> tuple[tuple[Check, ...], Plan | None]:
    """The checks, and the plan where there is one. Nothing is asked for without a number of GPUs."""
    wanted, number = model or config.settings.model, gpus or config.settings.gpus
    checks = _model(wanted) if wanted else ()
    if number is None:
        return checks, None
    # How many nodes are needed does not depend on which model it is, unless its size is known.
    asked = Settings(model=wanted or "any", gpus=number)
    try:
        request = merge(config.settings, asked)
        facts = model_facts(Path(model_path(wanted)).expanduser()) if wanted else model_facts(Path("/nonexistent"))
        planned = plan(config.capacity, request, facts)
    except NeverFitsError as error:
        mend = "Ask for what the node types can hold, or give the YAML more or larger nodes."
        return (*checks, failure("room", error.message, mend, ExitCode.NEVER_FITS)), None
    except UserError as error:
        return (*checks, failure("room", error.message, "Mend the setting that it names.")), None
    nodes = ", ".join(f"{each.count} of {each.node_type}" for each in planned.nodes)
    return (*checks, passed("room", f"{number} GPUs are {nodes or 'nodes that are there already'}.")), planned


def _model(model: str) -> tuple[Check, ...]:
    path = Path(model_path(model)).expanduser()
    if not path.is_dir():
        if model.startswith(("/", ".", "~")) or model.count("/") > 1:
            mend = "Name a checkpoint's directory, a hub id such as org/model, or tiny."
            return (failure("model", f"Model {model} does not exist on this machine.", mend),)
        reason = Unknown("it is a hub id, and the hub is asked by the nodes only")
        return (unknown("model", f"Whether the weights of {model} can be had, and fit the GPUs", reason),)
    weight = model_facts(path).weight_bytes
    if weight is None:
        mend = "Name a directory with *.safetensors, *.bin or *.pt files."
        return (failure("model", f"{model} holds no weights.", mend),)
    return (passed("model", f"{model} is here: {weight / _GIB:.1f} GiB of weights."),)

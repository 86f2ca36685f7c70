"""Checks on the model's weights: can the nodes have them, and do they fit the GPUs' memory. Any provider.

A directory is looked for where the nodes find it: on this machine for nodes of this machine, else below what
`file_mounts` brings them. The hub is asked only where `ask` is given, which takes seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from elastic_deploy.cluster.aws.preflight.facts import Unknown
from elastic_deploy.cluster.aws.preflight.verdicts import failure, passed, unknown, warning
from elastic_deploy.cluster.config import ClusterConfig
from elastic_deploy.cluster.model_facts import model_facts
from elastic_deploy.cluster.model_hub import HubAnswer
from elastic_deploy.model.check import Check
from elastic_deploy.model.plan import Plan
from elastic_deploy.planning.sizes import WEIGHTS_SHARE
from elastic_deploy.rehearsal.engine_arguments import TINY_MODEL, model_path

_GIB = 2**30
_NO_MODEL, _REFUSED = (404, 410), (401, 403)


@dataclass(frozen=True, slots=True)
class Weights:
    """What was found out of a model's weights: the check, and what they weigh, None where that is not known."""

    check: Check
    weight_bytes: int | None = None


def weights(config: ClusterConfig, model: str, ask: Callable[[str], HubAnswer] | None = None) -> Weights:
    """Where the nodes find `model`, and what it weighs."""
    here = config.provider_kind == "local"
    if model == TINY_MODEL:
        return _in_directory(model, Path(model_path(model)), "comes with elastic-deploy")
    if here and Path(model).expanduser().is_dir():
        return _in_directory(model, Path(model).expanduser(), "is here")
    if _is_path(model):
        if here:
            mend = "Name a checkpoint's directory, a hub id such as org/model, or tiny."
            return Weights(failure("model", f"Model {model} does not exist on this machine.", mend))
        return _on_nodes(config, model)
    return _on_hub(model, ask)


def fits(plan: Plan, types: dict[str, int | None], weight: int | None) -> tuple[Check, ...]:
    """Whether a replica's GPUs hold so many bytes; `types` are a GPU's bytes by node type. None: not known.

    A warning at the most: a plan never makes a replica too small by itself, and who insists may have arguments for
    vLLM (a quantisation, an offload) that this cannot weigh.
    """
    if weight is None or not plan.nodes:
        return ()
    memories = [types.get(each.node_type) for each in plan.nodes]
    known = [each for each in memories if each is not None]
    if not known or len(known) < len(memories):
        return (
            unknown(
                "memory", "Whether the weights fit the GPUs", Unknown("how much memory those have is not in the tables")
            ),
        )
    gpus, memory = plan.shape.gpus_per_replica, min(known)
    number = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
    said = f"{_gib(weight)} of weights on {number} of {_gib(memory)}"
    if weight <= gpus * int(memory * WEIGHTS_SHARE):
        return (passed("memory", f"A replica has {said}."),)
    least = -(-weight // int(memory * WEIGHTS_SHARE))
    mend = f"Give a replica {least} GPUs or more (sizes, --gpus), or take larger ones."
    left = "do not fit" if weight > gpus * memory else "leave too little for the KV cache"
    return (warning("memory", f"A replica has {said}: they {left}, and vLLM may not start.", mend),)


def _is_path(model: str) -> bool:
    return model.startswith(("/", ".", "~")) or model.count("/") > 1


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


def _in_directory(model: str, path: Path, where: str) -> Weights:
    weight = model_facts(path).weight_bytes
    if weight is None:
        mend = "Name a directory with *.safetensors, *.bin or *.pt files."
        return Weights(failure("model", f"{model} holds no weights.", mend))
    return Weights(passed("model", f"{model} {where}: {_gib(weight)} of weights."), weight)


def _on_nodes(config: ClusterConfig, model: str) -> Weights:
    for target, source in (config.raw.get("file_mounts") or {}).items():
        if not PurePosixPath(model).is_relative_to(str(target)):
            continue
        brought = Path(str(source)).expanduser() / PurePosixPath(model).relative_to(str(target))
        if brought.is_dir():
            return _in_directory(model, brought, f"is brought to the nodes from {brought}")
        said = f"Model {model} is below {target} of file_mounts, and there is no directory {brought} here."
        return Weights(failure("model", said, "Put the checkpoint there, or name another one."))
    if Path(model).expanduser().is_dir():
        said = f"Model {model} is a directory of this machine, and nothing in file_mounts brings it to the nodes."
        mend = "Where the nodes have it by themselves (their image, a shared disk), all is well; else mount it."
        return Weights(warning("model", said, mend), model_facts(Path(model).expanduser()).weight_bytes)
    what = f"Whether the nodes have {model}"
    return Weights(unknown("model", what, Unknown("it is a directory of theirs, and no file_mounts brings it")))


def _on_hub(model: str, ask: Callable[[str], HubAnswer] | None) -> Weights:
    what = f"Whether the weights of {model} can be had"
    if ask is None:
        return Weights(unknown("model", what, Unknown("it is a hub id, and the hub was not asked")))
    answer = ask(model)
    if answer.status == 200:
        weight = answer.weight_bytes
        size = "" if weight is None else f": {_gib(weight)} of weights"
        return Weights(passed("model", f"The hub gives {model} out{size}."), weight)
    if answer.status in _REFUSED:
        # Of a model that does not exist the hub says the same to whoever shows no token.
        said = (
            f"The hub does not give {model} to this machine (HTTP {answer.status}): it is gated, private, or not there."
        )
        mend = "Check its name, accept its licence, and give the nodes a token: mount it as HF_TOKEN_PATH says."
        return Weights(warning("model", said, mend))
    if answer.status in _NO_MODEL:
        mend = "Name a checkpoint's directory, a hub id such as org/model, or tiny."
        return Weights(failure("model", f"The hub has no model {model}.", mend))
    reason = answer.reason or f"the hub answered with HTTP {answer.status}"
    return Weights(unknown("model", what, Unknown(reason)))

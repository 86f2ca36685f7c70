"""How `--gpus N` is divided: tensor parallel within a node, pipeline over nodes, replicas with what is left.

Pure; asked by `planning.plan` once it is known on which nodes the GPUs will be. Every way to divide N is listed, and
what cannot be is struck out rule by rule; when a rule leaves nothing, it says why.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from elastic_deploy.model.errors import NeverFitsError
from elastic_deploy.model.shape import ModelFacts, NodeType, Shape

WEIGHTS_SHARE = 0.7
"""The part of a GPU's memory that weights may fill. vLLM takes 0.92 of it (`gpu_memory_utilization` of vLLM 0.32) for
weights, activations, CUDA graphs and the KV cache; with less than a fifth for the last three it serves few requests
at a time or none."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that the user gave; None was left to us."""

    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the GPUs will be: the node types in use, and how many nodes in all."""

    node_types: tuple[NodeType, ...]
    nodes: int

    @property
    def largest(self) -> NodeType:
        """The node type with the most GPUs."""
        return max(self.node_types, key=lambda each: each.gpus)

    @property
    def gpu_memory_bytes(self) -> int | None:
        """Memory of the smallest GPU in use; None if any is unknown."""
        known = [each.gpu_memory_bytes for each in self.node_types if each.gpu_memory_bytes is not None]
        return min(known) if known and len(known) == len(self.node_types) else None

    def keeps_whole(self, tensor_parallel: int) -> bool:
        """Whether every tensor-parallel group will lie within one node, however Ray packs the replicas.

        On several nodes the size must divide what each has: Ray fills one node after the other, and a rest would be
        filled up by a group that ends on the next.
        """
        if self.nodes == 1:
            return tensor_parallel <= self.largest.gpus
        return all(each.gpus % tensor_parallel == 0 for each in self.node_types)


def divide(gpus: int, given: Sizes, ground: Ground, facts: ModelFacts) -> tuple[Shape, tuple[str, ...]]:
    """The shape for `gpus` GPUs, and why, a sentence each. Raises NeverFitsError where there is none."""
    shapes = [shape for shape in all_shapes(gpus) if _as_given(shape, given)]
    if not shapes:
        raise NeverFitsError(_indivisible(gpus, given))

    shapes = _only(shapes, lambda each: splits(each, facts), lambda: _unsplittable(shapes, facts))
    if given.tensor_parallel is None:
        shapes = _only(
            shapes, lambda each: ground.keeps_whole(each.tensor_parallel), lambda: _too_wide(gpus, shapes, ground)
        )

    least = least_gpus(facts, ground)
    replica_sizes = {shape.gpus_per_replica for shape in shapes}
    insisted = len(replica_sizes) == 1 and given != Sizes()
    if least is not None and not insisted:
        shapes = _only(shapes, lambda each: each.gpus_per_replica >= least, lambda: _too_small(gpus, least, ground))

    # Small replicas need to be known to hold the model; what is not known to be enough gets all there is.
    by_size = 1 if least is not None else -1
    shape = min(shapes, key=lambda each: (by_size * each.gpus_per_replica, each.pipeline_parallel))
    return shape, tuple(_why(shape, given, ground, least, insisted=insisted))


def least_gpus(facts: ModelFacts, ground: Ground) -> int | None:
    """How many GPUs one replica needs for its weights; None if the model's or the GPUs' size is not known."""
    memory = ground.gpu_memory_bytes
    if facts.weight_bytes is None or memory is None:
        return None
    return max(1, -(-facts.weight_bytes // int(memory * WEIGHTS_SHARE)))


def all_shapes(gpus: int) -> Iterator[Shape]:
    """Every way to divide so many GPUs."""
    for tensor in _divisors(gpus):
        for pipeline in _divisors(gpus // tensor):
            yield Shape(tensor, pipeline, gpus // tensor // pipeline)


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def _as_given(shape: Shape, given: Sizes) -> bool:
    return (
        given.tensor_parallel in (None, shape.tensor_parallel)
        and given.pipeline_parallel in (None, shape.pipeline_parallel)
        and given.replicas in (None, shape.replicas)
    )


def splits(shape: Shape, facts: ModelFacts) -> bool:
    """Whether vLLM can cut the model so: heads over tensor parallel (key-value heads may be doubled), layers over
    stages."""
    tensor, heads = shape.tensor_parallel, facts.key_value_heads
    return (
        (facts.attention_heads is None or facts.attention_heads % tensor == 0)
        and (heads is None or heads % tensor == 0 or tensor % heads == 0)
        and (facts.layers is None or shape.pipeline_parallel <= facts.layers)
    )


def _only(shapes: list[Shape], holds: Callable[[Shape], bool], refusal: Callable[[], str]) -> list[Shape]:
    left = [shape for shape in shapes if holds(shape)]
    if not left:
        raise NeverFitsError(refusal())
    return left


def _indivisible(gpus: int, given: Sizes) -> str:
    named = {
        "--tensor-parallel-size": given.tensor_parallel,
        "--pipeline-parallel-size": given.pipeline_parallel,
        "--replicas": given.replicas,
    }
    sizes = {name: size for name, size in named.items() if size is not None}
    product = 1
    for size in sizes.values():
        product *= size
    text = " x ".join(f"{name} {size}" for name, size in sizes.items())
    made = f"{text} = {product}" if len(sizes) > 1 else text
    if len(sizes) == len(named):
        return f"{made} GPUs, but --gpus is {gpus}: make the two equal, or leave one of the sizes to the plan."
    below = gpus // product * product
    mend = f"--gpus {below} or {below + product}" if below else f"--gpus {product}"
    return f"--gpus {gpus} cannot be divided by {made}: ask for {mend}, or for other sizes."


def _unsplittable(shapes: list[Shape], facts: ModelFacts) -> str:
    heads, layers = facts.attention_heads, facts.layers
    limits = [
        f"{heads} attention heads, which the tensor parallel size must divide" if heads is not None else "",
        f"{layers} layers, one or more for each pipeline stage" if layers is not None else "",
    ]
    tried = max(shapes, key=lambda each: each.tensor_parallel)
    return (
        f"The model cannot be cut into tensor parallel {tried.tensor_parallel} x pipeline parallel"
        f" {tried.pipeline_parallel}: it has {' and '.join(limit for limit in limits if limit)}."
        " Choose sizes that fit it, or leave them to the plan."
    )


def _too_wide(gpus: int, shapes: list[Shape], ground: Ground) -> str:
    wide = min(shapes, key=lambda each: each.tensor_parallel)
    return (
        f"These sizes leave tensor parallel size {wide.tensor_parallel} for {gpus} GPUs, which does not fit a node:"
        f" the largest type in reach, {ground.largest.name}, has {ground.largest.gpus}. Take a larger"
        f" --pipeline-parallel-size, a node type with such a GPU count, or insist on it over several nodes with"
        f" --tensor-parallel-size {wide.tensor_parallel}."
    )


def _too_small(gpus: int, least: int, ground: Ground) -> str:
    return (
        f"The model's weights need at least {least} GPUs of {_gib(ground.gpu_memory_bytes or 0)} a replica, more than"
        f" these sizes make of --gpus {gpus}: ask for --gpus {least} or more, or insist with --tensor-parallel-size"
        " and --pipeline-parallel-size."
    )


def _why(shape: Shape, given: Sizes, ground: Ground, least: int | None, *, insisted: bool) -> Iterator[str]:
    size, tensor = shape.gpus_per_replica, shape.tensor_parallel
    if given != Sizes():
        yield "The sizes that you gave are kept."
    if least is None and not insisted and shape.replicas == 1:
        yield "The size of the model or of the GPUs is not known, so all GPUs serve one replica."
    if least is not None and size >= least:
        memory = _gib(ground.gpu_memory_bytes or 0)
        yield f"The weights need {least} GPUs of {memory}; {size} a replica is the least that divides evenly."
    if least is not None and size < least:
        yield f"Warning: the weights need about {least} GPUs a replica, and you insist on {size}: vLLM may not start."
    if not ground.keeps_whole(tensor):
        yield _split_warning(tensor, ground)
    elif shape.pipeline_parallel > 1 and ground.nodes > 1:
        yield f"Tensor parallel {tensor} stays within a node; {shape.pipeline_parallel} pipeline stages go over nodes."


def _split_warning(tensor: int, ground: Ground) -> str:
    gpus = ground.largest.gpus
    reason = (
        f"is more than the {gpus} of the largest node" if tensor > gpus else "does not divide the GPUs of every node"
    )
    return (
        f"Warning: tensor parallel size {tensor} {reason}, so a group crosses nodes, as you insist: every layer then"
        " waits for the network."
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.0f} GiB"

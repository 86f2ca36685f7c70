"""The ladder: the smaller shapes in which a deployment may serve while all of its GPUs cannot be had, the best first.

Pure; asked by `planning.plan`'s callers once the full shape is known. At run time `core.ladder` says when it is left,
and when it is come back to.
"""

from collections.abc import Iterator

from elastic_deploy.model.shape import ModelFacts, Shape
from elastic_deploy.planning.sizes import Ground, all_shapes, least_gpus, splits


def rungs(full: Shape, min_gpus: int, ground: Ground, facts: ModelFacts) -> tuple[Shape, ...]:
    """The best shape for each number of GPUs that is less than one replica's, down to `min_gpus`.

    Fewer replicas need no rung: those that have their GPUs serve. Below that, pipeline stages go first, then tensor
    parallel size, which costs latency too. Each holds the model: by its size, or, where nobody knows that, because the
    user says that `min_gpus` are enough.
    """
    least = least_gpus(facts, ground) or min_gpus
    found = []
    for gpus in range(full.gpus_per_replica - 1, min_gpus - 1, -1):
        shapes = [each for each in _smaller(gpus, full) if _can_serve(each, full, least, ground, facts)]
        if shapes:
            found.append(min(shapes, key=lambda each: _distance(each, full)))
    return tuple(found)


def _smaller(gpus: int, full: Shape) -> Iterator[Shape]:
    """The shapes of so many GPUs that are larger than the full one in nothing."""
    for each in all_shapes(gpus):
        if (
            each.tensor_parallel <= full.tensor_parallel
            and each.pipeline_parallel <= full.pipeline_parallel
            and each.replicas <= full.replicas
        ):
            yield each


def _can_serve(shape: Shape, full: Shape, least: int, ground: Ground, facts: ModelFacts) -> bool:
    """Whether vLLM can cut and hold the model so, within the nodes where the full shape keeps within them."""
    whole = ground.keeps_whole(shape.tensor_parallel) or not ground.keeps_whole(full.tensor_parallel)
    return whole and splits(shape, facts) and shape.gpus_per_replica >= least


def _distance(shape: Shape, full: Shape) -> tuple[int, int, int]:
    return (
        full.tensor_parallel - shape.tensor_parallel,
        full.pipeline_parallel - shape.pipeline_parallel,
        full.replicas - shape.replicas,
    )

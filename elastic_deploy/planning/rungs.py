"""The ladder: the smaller shapes in which a deployment may serve while all of its GPUs cannot be had, the best first.

Pure; asked by `planning.plan`'s callers once the full shape is known. At run time `core.ladder` says when it is left,
and when it is come back to.
"""

from collections.abc import Iterable, Iterator

from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.rung import ListedRung, Rung
from elastic_deploy.model.shape import ModelFacts, Shape
from elastic_deploy.planning.sizes import Ground, all_shapes, least_gpus, splits


def rungs(
    full: Shape, min_gpus: int, ground: Ground, facts: ModelFacts, listed: Iterable[ListedRung] = ()
) -> tuple[Rung, ...]:
    """The best shape for each number of GPUs that is less than one replica's, down to `min_gpus`, and those `listed`.

    Fewer replicas need no rung: those that have their GPUs serve. Below that, pipeline stages go first, then tensor
    parallel size, which costs latency too. Each holds the model: by its size, or, where nobody knows that, because the
    user says that `min_gpus` are enough. One that is listed holds it by the user's word: its arguments may make the
    model or its context smaller. Raises InvalidConfigError for one that is no smaller shape.
    """
    least = least_gpus(facts, ground) or min_gpus
    given = {each.gpus: each for each in listed}
    if too_large := [each for each in given.values() if each.gpus >= full.gpus_per_replica]:
        raise InvalidConfigError(
            f"Rung {too_large[0].gpus} is none: a replica has {full.gpus_per_replica} GPUs, and a rung has fewer. List"
            " rungs (--rung, or `rungs` in the YAML) of fewer GPUs, or leave them out."
        )
    found = []
    for gpus in range(full.gpus_per_replica - 1, min([min_gpus, *given]) - 1, -1):
        rung = given.get(gpus)
        if rung is None and gpus < min_gpus:
            continue
        enough = 0 if rung else least
        shapes = [each for each in _smaller(gpus, full) if _can_serve(each, full, enough, ground, facts)]
        if shapes:
            best = min(shapes, key=lambda each: _distance(each, full))
            found.append(Rung(best, rung.arguments if rung else ()))
        elif rung is not None:
            raise InvalidConfigError(
                f"Rung {gpus} is none: the model cannot be cut for {gpus} GPUs, in a shape that is smaller than"
                f" {full.tensor_parallel} x {full.pipeline_parallel} (tensor x pipeline parallel). List another number."
            )
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

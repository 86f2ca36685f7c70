"""The ladder of shapes: which there are for each number of GPUs, and which of them is the best."""

import pytest

from elastic_deploy.model.shape import ModelFacts, NodeType, Shape
from elastic_deploy.planning.rungs import rungs
from elastic_deploy.planning.sizes import Ground

EIGHT = Ground((NodeType("p5", {"GPU": 8}, 0, 4, gpu_memory_bytes=80 * 2**30),), 4)
ONES = Ground((NodeType("l4", {"GPU": 1}, 0, 4),), 4)
UNKNOWN = ModelFacts()
LARGE = ModelFacts(weight_bytes=200 * 2**30, attention_heads=64, key_value_heads=8, layers=80)  # four GPUs of EIGHT

CASES = {
    "pipeline stages go before tensor parallel size": (Shape(8, 2, 1), 8, EIGHT, UNKNOWN, [Shape(8, 1, 1)]),
    "then tensor parallel size": (
        Shape(8, 1, 1),
        2,
        EIGHT,
        ModelFacts(attention_heads=64),
        [Shape(4, 1, 1), Shape(2, 1, 1)],
    ),
    "what holds the model, by its size": (Shape(8, 2, 1), 1, EIGHT, LARGE, [Shape(8, 1, 1), Shape(4, 1, 1)]),
    "fewer replicas need no rung": (Shape(2, 1, 4), 2, EIGHT, UNKNOWN, []),
    "but fewer GPUs than one needs do": (Shape(2, 1, 4), 1, EIGHT, UNKNOWN, [Shape(1, 1, 1)]),
    "all or nothing": (Shape(4, 1, 1), 4, EIGHT, UNKNOWN, []),
    "a size over several nodes, as was insisted on": (Shape(2, 1, 1), 1, ONES, UNKNOWN, [Shape(1, 1, 1)]),
    "heads that cannot be divided so": (Shape(6, 1, 1), 1, EIGHT, ModelFacts(attention_heads=6), [Shape(1, 1, 1)]),
}


@pytest.mark.parametrize(("full", "least", "ground", "facts", "expected"), CASES.values(), ids=list(CASES))
def test_the_rungs(full: Shape, least: int, ground: Ground, facts: ModelFacts, expected: list[Shape]) -> None:
    assert [each for each in rungs(full, least, ground, facts) if each in expected] == expected
    assert all(least <= each.gpus < full.gpus_per_replica for each in rungs(full, least, ground, facts))


def test_there_is_one_shape_for_each_number_of_gpus() -> None:
    found = rungs(Shape(4, 2, 1), 1, EIGHT, UNKNOWN)
    assert [each.gpus for each in found] == sorted({each.gpus for each in found}, reverse=True)

"""The ladder of shapes: which there are for each number of GPUs, and which of them is the best."""

import re

import pytest

from elastic_deploy.model.errors import InvalidConfigError
from elastic_deploy.model.rung import ListedRung, Rung, parse_rung
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
    found = rungs(full, least, ground, facts)
    assert [each.shape for each in found if each.shape in expected] == expected
    assert all(least <= each.gpus < full.gpus_per_replica and not each.arguments for each in found)


def test_there_is_one_shape_for_each_number_of_gpus() -> None:
    found = rungs(Shape(4, 2, 1), 1, EIGHT, UNKNOWN)
    assert [each.gpus for each in found] == sorted({each.gpus for each in found}, reverse=True)


SHORT = ("--max-model-len", "8192")
LISTED: dict[str, tuple[Shape, int, ModelFacts, list[ListedRung], list[Rung]]] = {
    "only those that are listed, where no least is said": (
        Shape(8, 1, 1),
        8,
        UNKNOWN,
        [ListedRung(2, SHORT), ListedRung(4, ("--quantization", "fp8"))],
        [Rung(Shape(4, 1, 1), ("--quantization", "fp8")), Rung(Shape(2, 1, 1), SHORT)],
    ),
    "beside those that the least allows": (
        Shape(4, 1, 1),
        2,
        ModelFacts(attention_heads=4),
        [ListedRung(1, SHORT)],
        [Rung(Shape(2, 1, 1)), Rung(Shape(1, 1, 1), SHORT)],
    ),
    "in the place of the one that would be planned": (
        Shape(4, 1, 1),
        2,
        ModelFacts(attention_heads=4),
        [ListedRung(2, SHORT)],
        [Rung(Shape(2, 1, 1), SHORT)],
    ),
    "though the model as it is would not fit": (
        Shape(8, 2, 1),
        16,
        LARGE,
        [ListedRung(2, SHORT)],
        [Rung(Shape(2, 1, 1), SHORT)],
    ),
    "of one replica of several": (Shape(2, 1, 4), 8, UNKNOWN, [ListedRung(1, SHORT)], [Rung(Shape(1, 1, 1), SHORT)]),
}


@pytest.mark.parametrize(("full", "least", "facts", "listed", "expected"), LISTED.values(), ids=list(LISTED))
def test_rungs_that_the_user_lists(
    full: Shape, least: int, facts: ModelFacts, listed: list[ListedRung], expected: list[Rung]
) -> None:
    assert list(rungs(full, least, EIGHT, facts, listed)) == expected


@pytest.mark.parametrize(
    ("full", "gpus", "words"),
    [
        (Shape(4, 1, 1), 4, "Rung 4 is none: a replica has 4 GPUs"),
        (Shape(2, 1, 2), 3, "Rung 3 is none: a replica has 2 GPUs"),
        (Shape(8, 1, 1), 3, "Rung 3 is none: the model cannot be cut for 3 GPUs"),
    ],
)
def test_a_rung_that_is_none_is_refused(full: Shape, gpus: int, words: str) -> None:
    with pytest.raises(InvalidConfigError, match=re.escape(words)):
        rungs(full, full.gpus, EIGHT, ModelFacts(attention_heads=8), [ListedRung(gpus, SHORT)])


def test_a_rung_as_it_is_written() -> None:
    assert parse_rung("2: --max-model-len 8192") == ListedRung(2, SHORT)
    quoted = """1:--override-generation-config '{"top_k": 1}'"""
    assert parse_rung(quoted) == ListedRung(1, ("--override-generation-config", '{"top_k": 1}'))
    assert parse_rung(str(parse_rung(quoted))) == parse_rung(quoted)


@pytest.mark.parametrize("text", ["", "2", "2:", "two: --a 1", "0: --a 1", "-1: --a 1", "2: a", "2: --a 'b"])
def test_what_is_no_rung_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write GPUS: ARGUMENTS, such as '2: --max-model-len 8192'"):
        parse_rung(text)

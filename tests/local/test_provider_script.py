"""The rehearsal script: what it grants, what it refuses, and in which words."""

import pytest

from elastic_deploy.cluster.local.script import Refusal, Script, Verdict, is_due_to_die, judge, parse
from elastic_deploy.model.errors import InvalidConfigError


def test_without_a_script_every_launch_is_granted() -> None:
    assert judge(parse(None, "x"), "gpu", 3, 0, 0, 0) == Verdict(granted=3)


@pytest.mark.parametrize(("refused", "granted"), [(0, 0), (1, 0), (2, 2)])
def test_the_first_launches_are_refused_with_the_given_code_and_then_granted(refused: int, granted: int) -> None:
    script = parse({"refuse": {"count": 2, "code": "VcpuLimitExceeded", "message": "No more vCPU."}}, "x")

    verdict = judge(script, "gpu", 2, 0, 0, refused)

    assert verdict.granted == granted
    if not granted:
        assert verdict.counted
        assert verdict.refusal == Refusal(count=2, code="VcpuLimitExceeded", message="No more vCPU.")


def test_refusals_without_a_count_go_on_for_ever() -> None:
    assert judge(parse({"refuse": {}}, "x"), "gpu", 1, 0, 0, 10_000).refusal == Refusal()


@pytest.mark.parametrize(("alive", "granted"), [(0, 2), (1, 1), (2, 0), (5, 0)])
def test_beyond_max_nodes_the_rest_of_a_launch_is_refused_as_out_of_capacity(alive: int, granted: int) -> None:
    verdict = judge(parse({"max_nodes": 2}, "x"), "gpu", 2, alive, alive, 0)

    assert verdict.granted == granted
    assert not verdict.counted
    assert (verdict.refusal.code if verdict.refusal else None) == (
        None if granted == 2 else "InsufficientInstanceCapacity"
    )


def test_rules_of_a_node_type_replace_the_general_ones_for_that_type_only() -> None:
    script = parse({"launch_delay": 5, "die_after": 9, "node_types": {"big": {"launch_delay": 1}}}, "x")

    assert (script.rules_for("big").launch_delay, script.rules_for("big").die_after) == (1, 9)
    assert script.rules_for("small").launch_delay == 5


def test_max_nodes_of_a_type_counts_that_type_and_the_general_one_counts_all() -> None:
    script = parse({"max_nodes": 3, "node_types": {"big": {"max_nodes": 1}}}, "x")

    assert judge(script, "big", 1, alive_of_type=0, alive=3, refused=0).granted == 1
    assert judge(script, "small", 1, alive_of_type=0, alive=3, refused=0).granted == 0


def test_a_worker_dies_when_its_time_since_it_was_up_is_over() -> None:
    script = parse({"die_after": 60}, "x")

    assert not is_due_to_die(script, "gpu", None, now=1000)
    assert not is_due_to_die(script, "gpu", 1000, now=1059.9)
    assert is_due_to_die(script, "gpu", 1000, now=1060)
    assert not is_due_to_die(Script(), "gpu", 0, now=1e9)


def test_a_changed_script_has_another_digest_and_the_same_has_the_same() -> None:
    assert parse({"max_nodes": 2}, "x").digest() == parse({"max_nodes": 2}, "y").digest()
    assert parse({"max_nodes": 2}, "x").digest() != parse({"max_nodes": 3}, "x").digest()


def test_an_invalid_script_is_refused_with_one_sentence_that_names_every_wrong_setting() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        parse({"launch_delay": -1, "refuse": {"count": "x"}, "maxnodes": 2}, "the cluster YAML")

    for name in ("the cluster YAML", "launch_delay", "refuse.count", "maxnodes"):
        assert name in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("settings", [[1], "text", 3])
def test_a_script_of_the_wrong_shape_is_refused(settings: object) -> None:
    with pytest.raises(InvalidConfigError):
        parse(settings, "the cluster YAML")

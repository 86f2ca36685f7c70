"""The plan, a rule a row: what is asked of which cluster, and the shape or the sentence that comes of it."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elastic_deploy.model.errors import ExitCode, InvalidConfigError, NeverFitsError, UserError
from elastic_deploy.model.plan import NodeCount, Plan
from elastic_deploy.model.shape import Bundle, Capacity, ModelFacts, NodeType, Shape
from elastic_deploy.planning.fit import fits, gpus_in, most_gpus
from elastic_deploy.planning.plan import plan
from elastic_deploy.planning.request import DeploymentRequest

from .strategies import capacities

GIB = 2**30
HEAD = NodeType("head", {"CPU": 2}, 0, 0, is_head=True)


def cluster(*workers: NodeType, max_workers: int = 100, head: NodeType = HEAD) -> Capacity:
    return Capacity("lab", (head, *workers), max_workers)


def node(name: str, gpus: int, max_workers: int = 100, min_workers: int = 0, memory: int | None = None) -> NodeType:
    return NodeType(name, {"GPU": gpus} if gpus else {"CPU": 4}, min_workers, max_workers, gpu_memory_bytes=memory)


def ask(gpus: int, tp: int | None = None, pp: int | None = None, replicas: int | None = None) -> DeploymentRequest:
    return DeploymentRequest(
        name="m",
        model="m",
        served_model_name="m",
        gpus=gpus,
        min_gpus=gpus,
        tensor_parallel_size=tp,
        pipeline_parallel_size=pp,
        replicas=replicas,
    )


ONES = cluster(node("gpu", 1, 4), max_workers=4)
FOURS = cluster(node("gpu4", 4))
EIGHTS = cluster(node("gpu8", 8))
BIG = cluster(node("gpu8", 8, memory=80 * GIB))
LLAMA_70B = ModelFacts(weight_bytes=141 * GIB, attention_heads=64, key_value_heads=8, layers=80)
LLAMA_8B = ModelFacts(weight_bytes=16 * GIB, attention_heads=32, key_value_heads=8, layers=32)
HEADS_32 = ModelFacts(attention_heads=32)

SHAPES: dict[str, tuple[Capacity, DeploymentRequest, ModelFacts | None, Shape]] = {
    "one GPU is one replica": (ONES, ask(1), None, Shape(1, 1, 1)),
    "one-GPU nodes: pipeline over nodes": (ONES, ask(2), None, Shape(1, 2, 1)),
    "a tensor size that is given is kept, over nodes if need be": (ONES, ask(2, tp=2), None, Shape(2, 1, 1)),
    "within a node: tensor parallel": (EIGHTS, ask(8), None, Shape(8, 1, 1)),
    "a part of a node": (EIGHTS, ask(4), None, Shape(4, 1, 1)),
    "an odd part of a single node": (EIGHTS, ask(3), None, Shape(3, 1, 1)),
    "over nodes: tensor within each, pipeline across": (FOURS, ask(16), None, Shape(4, 4, 1)),
    "a last node that is half filled halves the tensor size": (EIGHTS, ask(12), None, Shape(4, 3, 1)),
    "heads limit the tensor size": (cluster(node("n", 6)), ask(6), HEADS_32, Shape(2, 3, 1)),
    "layers limit the stages, so replicas take the rest": (ONES, ask(4), ModelFacts(layers=2), Shape(1, 2, 2)),
    "a model of known size gets the smallest replica": (BIG, ask(8), LLAMA_70B, Shape(4, 1, 2)),
    "a small model gets a replica a GPU": (BIG, ask(8), LLAMA_8B, Shape(1, 1, 8)),
    "a replica's size must divide what is asked": (BIG, ask(7), LLAMA_70B, Shape(1, 7, 1)),
    "model size without GPU memory: all in one": (EIGHTS, ask(8), LLAMA_8B, Shape(8, 1, 1)),
    "replicas given": (EIGHTS, ask(16, replicas=4), None, Shape(4, 1, 4)),
    "tensor and pipeline given: replicas follow": (EIGHTS, ask(16, tp=2, pp=2), None, Shape(2, 2, 4)),
    "tensor given, size unknown: one replica over all": (EIGHTS, ask(16, tp=4), None, Shape(4, 4, 1)),
    "tensor given, size known: the least pipeline": (BIG, ask(8, tp=2), LLAMA_70B, Shape(2, 2, 2)),
    "pipeline given: tensor follows": (EIGHTS, ask(16, pp=2), None, Shape(8, 2, 1)),
    "all given": (EIGHTS, ask(16, 4, 2, 2), None, Shape(4, 2, 2)),
    "too small a replica that is insisted on": (BIG, ask(8, 1, 1), LLAMA_70B, Shape(1, 1, 8)),
    "a head with GPUs hosts them": (cluster(head=replace(HEAD, resources={"GPU": 4})), ask(4), None, Shape(4, 1, 1)),
}


@pytest.mark.parametrize(("capacity", "request_", "facts", "shape"), SHAPES.values(), ids=SHAPES)
def test_shape(capacity: Capacity, request_: DeploymentRequest, facts: ModelFacts | None, shape: Shape) -> None:
    assert plan(capacity, request_, facts).shape == shape


SMALL_FIRST = Capacity(
    "lab",
    (HEAD, NodeType("big", {"CPU": 96, "GPU": 8}, 0, 2), NodeType("small", {"GPU": 1}, 0, 8)),
    2,
)
CPU_HOGS = cluster(node("gpu", 1, 4), node("cpu", 0, 3, min_workers=3), max_workers=4)

REFUSALS: dict[str, tuple[Capacity, DeploymentRequest, ModelFacts | None, str]] = {
    "over both limits": (
        ONES,
        ask(8),
        None,
        "8 GPUs can never be had in lab: it allows 4 (at most 4 nodes of type gpu with 1 GPU each; 4 workers in all)."
        " Ask for --gpus 4 or fewer, or raise available_node_types.gpu.max_workers from 4 to 8 and the cluster's"
        " max_workers from 4 to 8.",
    ),
    "over the cluster's limit alone": (
        cluster(node("gpu", 1, 10), max_workers=4),
        ask(6),
        None,
        "6 GPUs can never be had in lab: it allows 4 (at most 10 nodes of type gpu with 1 GPU each; 4 workers in all)."
        " Ask for --gpus 4 or fewer, or raise the cluster's max_workers from 4 to 6.",
    ),
    "over the type's limit alone": (
        cluster(node("gpu", 8, 2)),
        ask(20),
        None,
        "Ask for --gpus 16 or fewer, or raise available_node_types.gpu.max_workers from 2 to 3.",
    ),
    "nodes without GPUs use up max_workers": (
        CPU_HOGS,
        ask(2),
        None,
        "it allows 1 (at most 4 nodes of type gpu with 1 GPU each; 4 workers in all, of which min_workers give 3 to"
        " nodes without GPUs). Ask for --gpus 1 or fewer, or raise the cluster's max_workers from 4 to 5.",
    ),
    "GPU nodes that may not be launched": (
        cluster(node("gpu", 4, 0)),
        ask(4),
        None,
        "none of its node types has GPUs and may be launched. Raise available_node_types.gpu.max_workers from 0 to 1.",
    ),
    "a GPU in the head alone": (
        cluster(head=replace(HEAD, resources={"GPU": 1})),
        ask(2),
        None,
        "it allows 1 (the head's own 1; 100 workers in all). Add a type of worker with GPUs",
    ),
    "not divisible by one size": (
        EIGHTS,
        ask(8, tp=3),
        None,
        "--gpus 8 cannot be divided by --tensor-parallel-size 3: ask for --gpus 6 or 9, or for other sizes.",
    ),
    "not divisible by two sizes": (
        EIGHTS,
        ask(8, tp=3, pp=2),
        None,
        "--gpus 8 cannot be divided by --tensor-parallel-size 3 x --pipeline-parallel-size 2 = 6: ask for --gpus 6 or"
        " 12, or for other sizes.",
    ),
    "more asked by the sizes than by --gpus": (
        EIGHTS,
        ask(2, tp=4),
        None,
        "--gpus 2 cannot be divided by --tensor-parallel-size 4: ask for --gpus 4, or for other sizes.",
    ),
    "three sizes that make another number": (
        EIGHTS,
        ask(8, 2, 2, 4),
        None,
        "--tensor-parallel-size 2 x --pipeline-parallel-size 2 x --replicas 4 = 16 GPUs, but --gpus is 8: make the two"
        " equal, or leave one of the sizes to the plan.",
    ),
    "a tensor size that follows and does not fit a node": (
        FOURS,
        ask(8, pp=1, replicas=1),
        None,
        "These sizes leave tensor parallel size 8 for 8 GPUs, which does not fit a node: the largest type in reach,"
        " gpu4, has 4. Take a larger --pipeline-parallel-size, a node type with such a GPU count, or insist on it over"
        " several nodes with --tensor-parallel-size 8.",
    ),
    "heads that the given size does not divide": (
        EIGHTS,
        ask(6, tp=6),
        HEADS_32,
        "The model cannot be cut into tensor parallel 6 x pipeline parallel 1: it has 32 attention heads, which the"
        " tensor parallel size must divide. Choose sizes that fit it, or leave them to the plan.",
    ),
    "fewer layers than stages": (
        EIGHTS,
        ask(8, pp=8),
        ModelFacts(layers=4),
        "cannot be cut into tensor parallel 1 x pipeline parallel 8: it has 4 layers, one or more for each pipeline",
    ),
    "a model that is too large for what is asked": (
        BIG,
        ask(2),
        LLAMA_70B,
        "The model's weights need at least 3 GPUs of 80 GiB a replica, more than these sizes make of --gpus 2: ask for"
        " --gpus 3 or more, or insist",
    ),
    "the autoscaler's greed": (
        SMALL_FIRST,
        ask(8),
        None,
        "8 GPUs would fit in lab, but Ray's autoscaler takes the node type that a request fills best, here 2 of small,"
        " is then at max_workers 2 with 6 GPUs missing, and launches nothing: set max_workers: 0 for the small node"
        " types, or raise the cluster's max_workers.",
    ),
}


@pytest.mark.parametrize(("capacity", "request_", "facts", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_refusal(capacity: Capacity, request_: DeploymentRequest, facts: ModelFacts | None, sentence: str) -> None:
    with pytest.raises(NeverFitsError) as refused:
        plan(capacity, request_, facts)
    assert sentence in str(refused.value)
    assert refused.value.code == ExitCode.NEVER_FITS


def test_a_node_type_whose_gpus_nobody_knows_must_be_written_down() -> None:
    unknown = NodeType("p9", {}, 0, 4, detected=("CPU", "GPU"))
    with pytest.raises(InvalidConfigError, match=r"of type p9 has is not known here.*write `resources: \{GPU: n\}`"):
        plan(cluster(unknown), ask(2))
    beside = plan(cluster(node("gpu", 2), unknown), ask(2))
    assert "How many GPUs p9 has is not known here" in beside.why[-1]


def test_one_bundle_a_gpu_and_nothing_else_in_it() -> None:
    assert plan(EIGHTS, ask(16, 4, 2, 2)).bundles == (Bundle({"GPU": 1}, 16),)


def test_nodes_are_counted_with_their_reason() -> None:
    assert plan(EIGHTS, ask(12)).nodes == (NodeCount("gpu8", 2, "8 GPUs each"),)


def test_the_heads_own_gpus_and_standing_workers_come_first() -> None:
    head = replace(HEAD, resources={"GPU": 2})
    nodes = plan(cluster(node("gpu", 2, min_workers=1), head=head), ask(6)).nodes
    assert nodes == (
        NodeCount("head", 1, "2 GPUs, the head's own are used first"),
        NodeCount("gpu", 2, "2 GPUs each, 1 up in any case (min_workers)"),
    )


def test_of_several_node_types_the_one_that_the_request_fills_best_is_taken() -> None:
    several = cluster(node("gpu1", 1), node("gpu4", 4), node("gpu8", 8))
    made = plan(several, ask(4))
    assert made.nodes == (NodeCount("gpu4", 1, "4 GPUs"),)
    assert made.shape == Shape(4, 1, 1)
    assert "takes the node type that the request fills best: gpu4 of gpu1, gpu4, gpu8." in made.why[-1]


def test_a_mixture_of_types_lowers_the_tensor_size_and_is_said() -> None:
    made = plan(cluster(node("gpu8", 8, 1), node("gpu2", 2)), ask(12))
    assert [(each.node_type, each.count) for each in made.nodes] == [("gpu8", 1), ("gpu2", 2)]
    assert made.shape == Shape(2, 6, 1)
    assert any("a replica may lie on several types" in sentence for sentence in made.why)


def test_what_other_deployments_have_asked_for_counts() -> None:
    taken = (Bundle({"GPU": 1}, 3),)
    made = plan(ONES, ask(1), taken=taken)
    assert made.nodes == (NodeCount("gpu", 1, "1 GPU"),)
    with pytest.raises(NeverFitsError, match=r"^2 GPUs beside the 3 of other deployments .* Ask for --gpus 1 or fewer"):
        plan(ONES, ask(2), taken=taken)


def test_what_other_deployments_leave_of_a_node_is_used() -> None:
    made = plan(FOURS, ask(2), taken=(Bundle({"GPU": 1}, 2),))
    assert made.nodes == ()
    assert made.shape == Shape(2, 1, 1)


@pytest.mark.parametrize(
    ("capacity", "request_", "facts", "sentence"),
    [
        (ONES, ask(2, tp=2), None, "tensor parallel size 2 is more than the 1 of the largest node, so a group crosses"),
        (FOURS, ask(6, tp=3), None, "tensor parallel size 3 does not divide the GPUs of every node"),
        (BIG, ask(8, 1, 1), LLAMA_70B, "need about 3 GPUs a replica, and you insist on 1: vLLM may not start"),
        (BIG, ask(8), LLAMA_70B, "The weights need 3 GPUs of 80 GiB; 4 a replica is the least that divides evenly."),
        (ONES, ask(2), None, "is not known, so all GPUs serve one replica"),
    ],
)
def test_why(capacity: Capacity, request_: DeploymentRequest, facts: ModelFacts | None, sentence: str) -> None:
    assert any(sentence in each for each in plan(capacity, request_, facts).why)


def test_what_could_not_be_otherwise_is_not_explained() -> None:
    assert not any("not known" in each for each in plan(ONES, ask(2, tp=2)).why)


def test_a_number_of_gpus_that_is_a_mistake_is_refused_at_once() -> None:
    with pytest.raises(NeverFitsError):
        plan(ONES, ask(10**12))


FACTS = st.builds(
    ModelFacts,
    weight_bytes=st.none() | st.integers(1, 400 * GIB),
    attention_heads=st.none() | st.sampled_from([4, 8, 12, 32, 64]),
    key_value_heads=st.none() | st.sampled_from([1, 4, 8]),
    layers=st.none() | st.integers(1, 80),
)
SIZE = st.none() | st.integers(1, 4)


def planned(capacity: Capacity, request: DeploymentRequest, facts: ModelFacts | None = None) -> Plan | None:
    try:
        return plan(capacity, request, facts)
    except UserError:
        return None


@settings(max_examples=500, deadline=None)
@given(capacities(), st.integers(1, 40), SIZE, SIZE, SIZE, FACTS)
def test_a_plan_uses_exactly_the_gpus_asked_for_and_keeps_every_limit(
    capacity: Capacity, gpus: int, tp: int | None, pp: int | None, replicas: int | None, facts: ModelFacts
) -> None:
    request = ask(gpus, tp, pp, replicas)
    made = planned(capacity, request, facts)
    assert made == planned(capacity, request, facts)
    if made is None:
        return
    shape = made.shape
    assert shape.gpus == gpus == gpus_in(made.bundles)
    assert (tp or shape.tensor_parallel, pp or shape.pipeline_parallel, replicas or shape.replicas) == (
        shape.tensor_parallel,
        shape.pipeline_parallel,
        shape.replicas,
    )
    assert fits(capacity, made.bundles)
    types = {each.name: each for each in capacity.node_types}
    counts = {each.node_type: each.count for each in made.nodes}
    assert sum(types[name].gpus * count for name, count in counts.items()) >= gpus
    for name, count in counts.items():
        assert count <= types[name].max_workers + types[name].is_head
    assert sum(counts.values()) <= capacity.max_workers + 1
    if tp is None:
        assert shape.tensor_parallel <= max(types[name].gpus for name in counts)
    if facts.attention_heads is not None:
        assert facts.attention_heads % shape.tensor_parallel == 0
    if facts.layers is not None:
        assert shape.pipeline_parallel <= facts.layers


@settings(max_examples=300, deadline=None)
@given(capacities(), st.integers(1, 40))
def test_without_sizes_or_facts_whatever_fits_gets_a_plan(capacity: Capacity, gpus: int) -> None:
    made = planned(capacity, ask(gpus))
    if gpus > most_gpus(capacity):
        assert made is None
    elif made is None:
        with pytest.raises(NeverFitsError, match="Ray's autoscaler takes the node type"):
            plan(capacity, ask(gpus))


@settings(max_examples=300, deadline=None)
@given(capacities(), st.integers(1, 8), st.integers(1, 40))
def test_fewer_gpus_fit_where_more_do(capacity: Capacity, fewer: int, more: int) -> None:
    assume(fewer <= more)
    if fits(capacity, (Bundle({"GPU": 1}, more),)):
        assert fits(capacity, (Bundle({"GPU": 1}, fewer),))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_with_one_node_type_a_plan_for_many_replicas_means_one_for_each_number_below(
    node_gpus: int, max_workers: int, tp: int, pp: int, replicas: int
) -> None:
    capacity = cluster(node("gpu", node_gpus, max_workers))
    if planned(capacity, ask(tp * pp * replicas, tp, pp)) is not None:
        for below in range(1, replicas):
            assert planned(capacity, ask(tp * pp * below, tp, pp)) is not None

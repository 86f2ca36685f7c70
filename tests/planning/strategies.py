"""Clusters as hypothesis makes them up: a head and up to three node types, every limit within reach of the others."""

from hypothesis import strategies as st

from elastic_deploy.model.shape import Capacity, NodeType


@st.composite
def node_types(draw: st.DrawFn, name: str, *, is_head: bool = False) -> NodeType:
    """One node type of 0 to 8 GPUs."""
    resources = {"CPU": float(draw(st.integers(0, 8))), "GPU": float(draw(st.integers(0, 8)))}
    minimum = draw(st.integers(0, 2))
    return NodeType(
        name=name,
        resources=resources,
        min_workers=minimum,
        max_workers=draw(st.integers(minimum, 6)),
        is_head=is_head,
        priority=draw(st.integers(0, 1)),
    )


@st.composite
def capacities(draw: st.DrawFn) -> Capacity:
    """A cluster that Ray would accept: `max_workers` covers all `min_workers`."""
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    types = (draw(node_types("head", is_head=True)), *(draw(node_types(name)) for name in names))
    least = sum(each.min_workers for each in types)
    return Capacity("made-up", types, draw(st.integers(least, least + 8)))

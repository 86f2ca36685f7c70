"""Whether a change finds room for one replica more: in the cluster, and in the pools where replicas may live."""

import pytest

from elastic_deploy.model.pool import Pool
from elastic_deploy.model.shape import Bundle, Capacity, NodeType, Shape
from elastic_deploy.planning.surge import has_room, most_gpus_changing

ONE, TWO = Shape(2, 1, 1), Shape(2, 1, 2)
CLUSTER = Capacity("c", (NodeType("gpu", {"GPU": 1.0}, 0, 12),), 12)


def pools(*rooms: int | None) -> tuple[Pool, ...]:
    """Pools that can have so many GPUs each; None is not known."""
    return tuple(Pool(f"p{number}", ("gpu",), room) for number, room in enumerate(rooms))


@pytest.mark.parametrize(
    ("before", "after", "taken", "where", "expected"),
    [
        (ONE, ONE, 0, (), True),
        (ONE, ONE, 9, (), False),
        (ONE, ONE, 0, pools(4), True),
        (ONE, ONE, 0, pools(3), False),
        (ONE, ONE, 0, pools(2, 2), True),
        (ONE, ONE, 0, pools(3, 1), False),
        (TWO, TWO, 0, pools(4, 2), True),
        (TWO, TWO, 0, pools(5), False),
        (ONE, ONE, 0, pools(2, None), True),
        (Shape(4, 1, 1), Shape(1, 1, 4), 0, pools(4, 1), True),
        (Shape(4, 1, 1), Shape(1, 1, 4), 0, pools(3, 3), False),
        (Shape(1, 1, 4), Shape(4, 1, 1), 0, pools(4, 4), True),
        (Shape(1, 1, 4), Shape(4, 1, 1), 0, pools(4, 3), False),
    ],
)
def test_room(before: Shape, after: Shape, taken: int, where: tuple[Pool, ...], expected: bool) -> None:
    assert has_room(CLUSTER, before, after, [Bundle({"GPU": 1.0}, taken)], where) is expected


def test_the_most_at_once_while_replicas_follow_each_other() -> None:
    assert most_gpus_changing(TWO, TWO) == 6
    assert most_gpus_changing(Shape(4, 1, 1), Shape(1, 1, 4)) == 5

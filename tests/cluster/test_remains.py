"""What EC2 still has of a cluster: in words, with the commands that remove it, and what follows from it."""

import pytest

from elastic_deploy.cluster.aws.ending import LIMIT_S, LOOSE_LIMIT_S, Course, Verdict, verdict
from elastic_deploy.cluster.aws.remains import (
    Instance,
    Kind,
    Remains,
    Thing,
    cost_in_words,
    instances_in_words,
    left_in_words,
    removal_commands,
    sentences,
)
from elastic_deploy.cluster.aws.shared import kept_in_words

REGION = "us-west-2"
HEAD = Instance("i-head", "m7i.xlarge", "running", is_head=True)
GPU = Instance("i-gpu", "g6.xlarge", "pending")
ENDING = Instance("i-old", "g6.xlarge", "shutting-down")
SPOT = Instance("i-spot", "g6.xlarge", "running", spot_request="sir-1")
ITS_DISK = Thing(Kind.VOLUME, "vol-its", "in-use", "60 GiB")
DISK = Thing(Kind.VOLUME, "vol-1", "available", "200 GiB")
CARD = Thing(Kind.INTERFACE, "eni-1", "available")
REQUEST = Thing(Kind.SPOT_REQUEST, "sir-1", "open")
GROUP = Thing(Kind.PLACEMENT_GROUP, "close", "available", "cluster")
UNASKED = Remains(unasked=("EC2 does not say.",))


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ((), "no instance"),
        ((HEAD,), "1 instance (1 m7i.xlarge running)"),
        (
            (HEAD, GPU, GPU, ENDING),
            "4 instances (2 g6.xlarge pending, 1 g6.xlarge shutting-down, 1 m7i.xlarge running)",
        ),
    ],
)
def test_instances_are_counted_by_type_and_state(instances: tuple[Instance, ...], words: str) -> None:
    assert instances_in_words(instances) == words


@pytest.mark.parametrize(
    ("instances", "price"),
    [
        ((HEAD,), "0.20 USD"),
        ((HEAD, GPU), "1.01 USD"),
        ((HEAD, GPU, ENDING), "1.01 USD"),  # what shuts down is billed no more
        ((HEAD, SPOT), "1.01 USD"),
        ((HEAD, Instance("i-x", "x9.huge", "running")), None),  # half a sum would be a wrong sum
        ((Instance("i-s", "g6.xlarge", "stopped"),), None),
        ((), None),
    ],
)
def test_the_cost_is_said_where_every_price_is_known(instances: tuple[Instance, ...], price: str | None) -> None:
    said = cost_in_words(instances)
    assert (said is None) if price is None else (price in str(said))
    assert ("spot cost less" in str(said)) == (SPOT in instances)


def test_what_hangs_on_an_instance_is_not_named_beside_it() -> None:
    found = Remains((HEAD,), (ITS_DISK, DISK))
    (stands, _cost, besides) = sentences(found, "mine", REGION)
    assert "i-head" in stands
    assert "vol-1 (200 GiB, available)" in besides
    assert "vol-its" not in besides
    # Without its instance it is as loose as any.
    assert "vol-its" in sentences(Remains((), (ITS_DISK,)), "mine", REGION)[0]


def test_nothing_is_said_in_one_sentence_and_an_unanswered_question_is_not_nothing() -> None:
    assert sentences(Remains(), "mine", REGION) == ["Nothing of mine stands in us-west-2."]
    assert sentences(UNASKED, "mine", REGION) == ["EC2 does not say."]
    assert not UNASKED.nothing


def test_what_is_left_is_named_with_the_command_that_removes_it() -> None:
    found = Remains((HEAD,), (REQUEST, DISK, CARD, GROUP))
    refused = {"i-head": "OperationNotPermitted: it is protected", "i-gone": "UnauthorizedOperation: no"}
    in_region = f"--region {REGION}"
    assert removal_commands(found, refused, REGION) == [
        f"aws ec2 cancel-spot-instance-requests {in_region} --spot-instance-request-ids sir-1",
        f"aws ec2 modify-instance-attribute {in_region} --instance-id i-head --no-disable-api-termination",
        f"aws ec2 terminate-instances {in_region} --instance-ids i-head",
        f"aws ec2 wait instance-terminated {in_region} --instance-ids i-head",
        f"aws ec2 delete-volume {in_region} --volume-id vol-1",
        f"aws ec2 delete-network-interface {in_region} --network-interface-id eni-1",
        f"aws ec2 delete-placement-group {in_region} --group-name close",
    ]
    said = left_in_words(found, refused, REGION)
    assert "EC2 refused i-head: OperationNotPermitted: it is protected." in said
    assert "i-gone" not in said
    assert " && ".join(removal_commands(found, refused, REGION)) in said


BEGAN = 1000.0
START = Course(began=BEGAN, instances_seen=BEGAN, looks=1)


@pytest.mark.parametrize(
    ("course", "found", "seconds", "expected"),
    [
        (START, Remains(), 0, Verdict.WAIT),  # EC2 may list a launch late: one empty look proves nothing
        (START.after(Remains(), BEGAN), Remains(), 3, Verdict.GONE),
        (START.after(Remains((HEAD,)), BEGAN), Remains(), 3, Verdict.WAIT),
        (START.after(Remains(), BEGAN), Remains((HEAD,)), 3, Verdict.WAIT),  # it came back: an autoscaler lives
        (START, Remains((HEAD, ENDING)), LIMIT_S - 1, Verdict.WAIT),
        (START, Remains((HEAD, ENDING)), LIMIT_S + 1, Verdict.GIVE_UP),
        (START, Remains((), (ITS_DISK,)), LOOSE_LIMIT_S - 1, Verdict.WAIT),
        (START, Remains((), (DISK,)), LOOSE_LIMIT_S + 1, Verdict.GIVE_UP),
        (START, Remains((HEAD,), (DISK,)), LOOSE_LIMIT_S + 1, Verdict.WAIT),
        (
            Course(began=BEGAN, instances_seen=BEGAN),
            Remains((HEAD,), (DISK,)),
            LIMIT_S + 1,
            Verdict.WAIT,
        ),  # tried first
        (START, UNASKED, LOOSE_LIMIT_S + 1, Verdict.GIVE_UP),  # not proved is not gone
    ],
)
def test_what_a_look_means(course: Course, found: Remains, seconds: float, expected: Verdict) -> None:
    now = BEGAN + seconds
    assert verdict(course.after(found, now), found, now) is expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Remains((HEAD,)), Verdict.GIVE_UP),
        (Remains((HEAD, ENDING)), Verdict.WAIT),
        (Remains((HEAD, GPU)), Verdict.WAIT),
    ],
)
def test_what_ec2_refuses_for_good_is_not_waited_for_once_the_rest_has_gone(found: Remains, expected: Verdict) -> None:
    refused = Course(began=BEGAN, instances_seen=BEGAN, looks=1, refused={"i-head": "UnauthorizedOperation: no"})
    assert verdict(refused.after(found, BEGAN + 1), found, BEGAN + 1) is expected


@pytest.mark.parametrize(
    ("node", "kept"),
    [
        ({}, ["Key pair ray-autoscaler_us-west-2 (if", "Role and instance profile ray-autoscaler-v1 (if"]),
        ({"KeyName": "mine", "IamInstanceProfile": {"Name": "x"}}, ["Key pair mine:"]),
        (
            {"KeyName": "mine", "IamInstanceProfile": {}, "SecurityGroupIds": ["sg-own", "sg-other", "sg-of-mine"]},
            ["Key pair mine:", "Security group sg-other:"],
        ),
        (
            {"KeyName": "mine", "IamInstanceProfile": {}, "Placement": {"GroupName": "close"}},
            ["Key pair mine:", "Placement group close:"],
        ),
    ],
)
def test_what_others_may_use_is_kept_and_said(node: dict[str, object], kept: list[str]) -> None:
    raw = {
        "provider": {"type": "aws", "region": REGION},
        "head_node_type": "head",
        "available_node_types": {"head": {"node_config": node}},
    }
    said = kept_in_words(raw, {"sg-own"})
    assert len(said) == len(kept)
    assert all(line.startswith(begin) for line, begin in zip(said, kept, strict=True))

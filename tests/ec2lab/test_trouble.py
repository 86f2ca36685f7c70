"""What the lab decides, as values: who gets how much of what is scarce, and whose turn a fault is."""

from dataclasses import replace

import pytest

from tests.ec2lab.lifecycle import Timing, due
from tests.ec2lab.trouble import BootFault, Failure, Launch, Limits, Running, boot_faults, bucket, first_failure, grant
from tests.ec2lab.words import Refusal, throttled

ZONES = ["a", "b", "c"]
LAUNCH = Launch("g5.xlarge", "a", "subnet-1", spot=False, vcpus=4, minimum=1, maximum=4)
HERE, THERE = Running("g5.xlarge", "a", spot=False, vcpus=4), Running("g5.xlarge", "b", spot=False, vcpus=4)
SMALL = Running("m5.large", "a", spot=False, vcpus=2)


@pytest.mark.parametrize(
    ("limits", "running", "granted"),
    [
        (Limits(), [HERE] * 100, 4),
        (Limits(capacity={("a", "g5.xlarge"): 3}), [THERE, SMALL], 3),
        (Limits(capacity={("a", "g5.xlarge"): 3}), [HERE], 2),
        (Limits(capacity={("a", "g5.xlarge"): 3}), [HERE] * 3, "InsufficientInstanceCapacity"),
        (Limits(quota={("on-demand", "g"): 12}), [SMALL], 3),
        (Limits(quota={("on-demand", "g"): 12}), [THERE, HERE], 1),
        (Limits(quota={("on-demand", "g"): 12}), [THERE, replace(HERE, spot=True)], 2),
        (Limits(quota={("on-demand", "g"): 3}), [], "VcpuLimitExceeded"),
        (Limits(quota={("spot", "g"): 0}), [], 4),
        (Limits(addresses={"a": 3}), [HERE, SMALL, THERE], 1),
        (Limits(addresses={"a": 1}), [SMALL], "InsufficientFreeAddressesInSubnet"),
    ],
)
def test_a_launch_gets_what_there_is_room_for(limits: Limits, running: list[Running], granted: int | str) -> None:
    answer = grant(LAUNCH, running, limits, ZONES)
    assert (answer.code if isinstance(answer, Refusal) else answer) == granted


def test_a_launch_that_wants_all_or_nothing_gets_nothing() -> None:
    limits = Limits(capacity={("a", "g5.xlarge"): 3, ("b", "g5.xlarge"): 0})
    refused = grant(replace(LAUNCH, minimum=4), [], limits, ZONES)
    assert isinstance(refused, Refusal)
    assert refused.message.endswith("or choosing c.")


def test_spot_has_words_of_its_own() -> None:
    spot = replace(LAUNCH, spot=True)
    sold_out = grant(spot, [], Limits(capacity={("a", "g5.xlarge"): 0}), ZONES)
    assert isinstance(sold_out, Refusal)
    assert "Spot capacity" in sold_out.message
    over = grant(spot, [], Limits(quota={("spot", "g"): 3}), ZONES)
    assert isinstance(over, Refusal)
    assert over.code == "MaxSpotInstanceCountExceeded"


@pytest.mark.parametrize(
    ("instance_type", "expected"),
    [("g6.xlarge", "g"), ("vt1.3xlarge", "g"), ("p5.48xlarge", "p"), ("m5.large", "standard"), ("trn1.2xlarge", "trn")],
)
def test_a_type_counts_against_the_limit_of_its_family(instance_type: str, expected: str) -> None:
    assert bucket(instance_type) == expected


def test_a_failure_is_used_up_and_passes_other_operations_by() -> None:
    failures = [Failure("Describe*", throttled(), 2), Failure("*", Refusal(400, "Other", ""), None)]
    first, failures = first_failure("DescribeInstances", failures)
    assert first == throttled()
    other, failures = first_failure("RunInstances", failures)
    assert other
    assert other.code == "Other"
    second, failures = first_failure("DescribeSubnets", failures)
    assert second == throttled()
    third, _ = first_failure("DescribeSubnets", failures)
    assert third == other


def test_boot_faults_go_to_the_next_hosts_of_their_type() -> None:
    faults = [BootFault(hosts=2, instance_type="g5.*", mute_ssh=True), BootFault(slow=5.0)]
    none, faults = boot_faults("m5.large", faults)
    assert [fault.slow for fault in none] == [5.0]
    one, faults = boot_faults("g5.xlarge", faults)
    two, faults = boot_faults("g5.2xlarge", faults)
    assert [fault.mute_ssh for fault in (*one, *two)] == [True, True]
    assert faults == []


@pytest.mark.parametrize(
    ("state", "after", "following"),
    [
        ("pending", 0.9, None),
        ("pending", 1.0, "running"),
        ("running", 9999.0, None),
        ("stopped", 9999.0, None),
        ("stopping", 2.0, "stopped"),
        ("shutting-down", 2.0, "terminated"),
        ("terminated", 3599.0, None),
        ("terminated", 3600.0, "forgotten"),
    ],
)
def test_states_follow_each_other_in_their_time(state: str, after: float, following: str | None) -> None:
    assert due(state, 100.0, 100.0 + after, Timing()) == following

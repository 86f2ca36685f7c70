"""Which of the cheap checks keep `up` from launching, and which it only says."""

import pytest

from elastic_deploy.cli.before_launch import sorted_out
from elastic_deploy.model.check import Check, Verdict

QUOTA = Check("quota", Verdict.FAILURE, "The quota is 0.")
IMAGE = Check("image", Verdict.FAILURE, "There is no such image.")
WARNED = Check("key pair", Verdict.WARNING, "Ray uses another.")
OTHERS = [Check("region", Verdict.PASS, "It is one."), Check("subnets", Verdict.UNKNOWN, "Nobody says.")]

CASES = {
    "what failed keeps it, a warning does not": (False, [*OTHERS, IMAGE, WARNED], [WARNED], [IMAGE]),
    "a quota keeps it where there is no other pool": (False, [QUOTA], [], [QUOTA]),
    "with another pool, EC2's refusal leads there": (True, [QUOTA, *OTHERS], [QUOTA], []),
    "but nothing else is forgiven for it": (True, [QUOTA, IMAGE], [QUOTA], [IMAGE]),
}


@pytest.mark.parametrize(("pools", "checks", "warnings", "failed"), CASES.values(), ids=list(CASES))
def test_what_keeps_up_from_launching(
    pools: bool, checks: list[Check], warnings: list[Check], failed: list[Check]
) -> None:
    assert sorted_out(checks, has_other_pools=pools) == (warnings, failed)

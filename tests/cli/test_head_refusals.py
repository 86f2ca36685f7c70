"""A head that AWS refuses, or that SSH does not reach, is told of in one sentence with the code and the mend.

`launcher_logs` has what Ray's launcher printed in the lab, cut to what matters.
"""

from pathlib import Path

import pytest

from elastic_deploy.cluster.telling import hindrance, telling_lines

LOGS = Path(__file__).parent / "launcher_logs"

TOLD = {
    "addresses": (
        "EC2 refused the head node: InsufficientFreeAddressesInSubnet: There are not enough free addresses in subnet "
        "'subnet-de1026a2e4e705938' to satisfy",
        "Name another subnet, or a larger one, in SubnetIds",
    ),
    "auth": ("AWS refused DescribeSubnets: AuthFailure: AWS was not able", "says whose they are"),
    "capacity": (
        "EC2 refused the head node: InsufficientInstanceCapacity in us-west-2a, us-west-2b, us-west-2c: We currently",
        "Try another zone (us-west-2d), or another type",
    ),
    "deny": (
        "EC2 refused the head node: UnauthorizedOperation: You are not authorized to perform this operation. User:",
        "Give the caller the right that is named: the launcher's for the head, for workers the head's instance role",
    ),
    "iam": ("AWS refused GetInstanceProfile: AccessDenied: User:", "for workers the head's instance role"),
    "image": (
        "EC2 refused the head node: InvalidAMIID.NotFound: The image id '[ami-0123456789abcdef0]' does not exist. ",
        "Name an image of this region in ImageId",
    ),
    "key": ("EC2 refused the head node: InvalidKeyPair.NotFound: The key pair 'no-such-key' does", "in KeyName"),
    "mute": (
        "the head node is there, and SSH does not reach it at 172.31.0.7: Connection timed out, 3 times; look after ",
        "the key, and the user of the image",
    ),
    "quota": ("EC2 refused the head node: VcpuLimitExceeded: You have requested more", "fewer or smaller nodes"),
    "role": ("EC2 refused the head node: InvalidParameterValue: Value (no-such-role)", "in IamInstanceProfile"),
    "throttle": ("EC2 refused the head node: RequestLimitExceeded: Request limit", "it passes by itself"),
}


def printed(case: str) -> str:
    return (LOGS / f"{case}.log").read_text()


def test_every_log_is_looked_at() -> None:
    assert {*TOLD, "setup"} == {path.stem for path in LOGS.glob("*.log")}


@pytest.mark.parametrize("case", TOLD)
def test_a_head_that_was_not_launched_is_told_of_in_the_clouds_words_with_the_mend(case: str) -> None:
    told = telling_lines(printed(case), "Exiting due to cli_logger.abort()")
    begins, ends = TOLD[case]
    assert told.startswith(begins), told
    assert told.endswith(ends), told
    assert "Traceback" not in told


def test_ssh_that_does_not_answer_is_told_of_while_it_lasts() -> None:
    lines = printed("mute").splitlines(keepends=True)
    first = next(index for index, line in enumerate(lines) if line.startswith("ssh: connect"))
    assert hindrance("".join(lines[:first])) == ""
    assert "Connection timed out, 1 time;" in hindrance("".join(lines[: first + 1]))
    assert "Connection timed out, 3 times;" in hindrance("".join(lines))


def test_ssh_that_answered_at_last_is_not_told_of() -> None:
    reached = "2026-11-23 01:19:22,538\tSUCC updater.py:301 -- \x1b[32mSuccess.\x1b[39m\n"
    assert hindrance(printed("mute") + reached) == ""
    assert "SSH" not in telling_lines(f"{printed('mute')}{reached}Setup command failed.\n", "")


def test_a_key_that_a_head_does_not_know_is_told_of_in_sshs_words() -> None:
    waits = "2026-11-23 01:08:20,028\tINFO updater.py:283 -- [1/7] Waiting for SSH to become available\n"
    said = hindrance(f"{waits}ubuntu@172.31.16.4: Permission denied (publickey,keyboard-interactive).\n")
    assert "at 172.31.16.4: Permission denied (publickey,keyboard-interactive), 1 time;" in said


def test_a_refusal_that_another_zone_made_good_is_not_what_failed() -> None:
    tried = "".join(line for line in printed("capacity").splitlines(keepends=True) if "Attempt failed" in line)
    asked = "An error occurred (InvalidInstanceID.NotFound) when calling the DescribeInstances operation: no such\n"
    went_on = f"{tried}{asked}<1/1> Setting up head node\nSetup command failed.\n"
    assert tried
    assert telling_lines(tried + asked, "").startswith("AWS refused DescribeInstances: InvalidInstanceID.NotFound")
    assert "AWS refused" not in telling_lines(went_on, "")
    assert telling_lines(went_on, "").endswith("Setup command failed")


def test_a_setup_that_fails_on_the_head_is_told_by_its_step_and_its_own_words() -> None:
    output = (LOGS / "setup.log").read_text()
    assert telling_lines(output, "") == (
        "the Ray start commands failed on the head node i-b43977c04bd389233: ray: No space left on device. Mend them in"
        " the cluster YAML"
    )


def test_no_command_of_a_setup_is_taken_for_its_words() -> None:
    stamp = "2026-11-23 01:36:54,764\tINFO x.py:1 --"
    output = f"{stamp} Running `export TOKEN=secret\nfalse`\n{stamp} NodeUpdater: i-1: Setup commands failed [x]\n"
    assert telling_lines(output, "") == (
        "the setup commands failed on the head node i-1, and said nothing. Mend them in the cluster YAML"
    )

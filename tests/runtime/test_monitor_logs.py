"""What the autoscaler's real output tells of launches and set-ups: `monitor_logs` was written in the lab."""

from pathlib import Path

import pytest

from elastic_deploy.model.snapshot import LaunchFailure, LaunchOutcome, SetupState, SetupStep, SetupTrouble
from elastic_deploy.runtime.launch_log import TOLD_AFTER, UNEXPLAINED, LaunchLog
from elastic_deploy.runtime.monitor_log import Line, MonitorLog, line_of
from elastic_deploy.runtime.setup_log import SSH_PATIENCE, SetupLog

LOGS = Path(__file__).parent / "monitor_logs"
NO_CAPACITY = "We currently do not have sufficient g5.xlarge capacity in the Availability Zone you requested"
LATER = 4e9


def at(clock: str) -> float:
    time = line_of("log", f"2026-11-23 {clock}\tINFO x.py:1 -- ").at
    assert time is not None
    return time


class Head:
    """The log directory of a head, which gets what the lab's wrote."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.files, self.launches, self.setups = MonitorLog(logs), LaunchLog(), SetupLog()

    def write(self, case: str, until: str = "99") -> None:
        """What was written until a time of the day; lines that say no time go with those before them."""
        for kind in ("log", "out", "err"):
            source = LOGS / f"{case}.{kind}"
            if not source.exists():
                continue
            with (self.logs / f"monitor.{kind}").open("a") as target:
                for raw in source.read_text().splitlines(keepends=True):
                    if kind != "err" and line_of(kind, raw).at is not None and raw[11:23] > until:
                        break
                    target.write(raw)

    def add(self, kind: str, text: str) -> None:
        with (self.logs / f"monitor.{kind}").open("a") as target:
            target.write(text)

    def look(self, now: float = LATER) -> tuple[list[LaunchFailure], list[SetupTrouble]]:
        lines = self.files.poll(now)
        return self.launches.read(lines, now), [*self.setups.read(lines, now), *self.setups.waiting(now)]


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path)


def told(failure: LaunchFailure) -> tuple[str, int, int, str, tuple[str, ...], LaunchOutcome]:
    return failure.node_type, failure.count, failure.came, failure.code, failure.zones, failure.outcome


LAUNCHES = {
    "no_capacity": [
        ("gpu", 1, 0, "InsufficientInstanceCapacity", ("us-west-2a", "us-west-2b", "us-west-2c"), LaunchOutcome.REFUSED)
    ]
    * 2,
    "one_zone": [("onezone", 1, 0, "InsufficientInstanceCapacity", ("us-west-2a",), LaunchOutcome.REFUSED)],
    "elsewhere": [("gpu", 1, 1, "InsufficientInstanceCapacity", ("us-west-2a",), LaunchOutcome.ELSEWHERE)],
    "partial": [("other", 2, 1, "", (), LaunchOutcome.PARTIAL)],
    "quota": [("gpu", 1, 0, "VcpuLimitExceeded", (), LaunchOutcome.REFUSED)] * 2,
    "no_image": [("badimage", 1, 0, "InvalidAMIID.NotFound", (), LaunchOutcome.REFUSED)],
    "no_answer": [("badimage", 1, 0, "LaunchError", (), LaunchOutcome.REFUSED)],
    "setup": [],
    "mute": [],
}


@pytest.mark.parametrize("case", LAUNCHES)
def test_what_became_of_a_launch(head: Head, case: str) -> None:
    head.write(case)
    launches, _ = head.look()
    assert [told(failure) for failure in launches] == LAUNCHES[case]
    assert head.look() == ([], head.setups.waiting(LATER))


@pytest.mark.parametrize("case", LAUNCHES)
def test_it_is_told_alike_when_the_lines_come_one_after_the_other(head: Head, case: str) -> None:
    head.write(case)
    lines = head.files.poll(LATER)
    one_by_one = [failure for line in lines for failure in head.launches.read([line], line.at or 0.0)]
    assert [told(failure) for failure in one_by_one] == LAUNCHES[case]


def test_a_try_that_is_read_before_its_launch_belongs_to_it(head: Head) -> None:
    """The files are read one after the other: the output may be ahead of the log."""
    head.write("elsewhere")
    lines = head.files.poll(LATER)
    tries = [line for line in lines if line.kind == "out"]
    assert head.launches.read(tries[:1], LATER) == []
    rest = [line for line in lines if line not in tries[:1]]
    assert [told(failure) for failure in head.launches.read(rest, LATER)] == LAUNCHES["elsewhere"]


def test_a_refused_try_is_told_by_itself_while_the_next_one_takes_its_time(head: Head) -> None:
    head.write("elsewhere", until="01:08:16,930")
    assert head.look(at("01:08:17,000"))[0] == []
    [trying], _ = head.look(at("01:08:16,916") + TOLD_AFTER)
    assert told(trying)[3:] == ("InsufficientInstanceCapacity", ("us-west-2a",), LaunchOutcome.RETRYING)
    assert head.look(at("01:08:16,916") + 2 * TOLD_AFTER)[0] == []


def test_a_launch_that_failed_without_a_reason_is_told_of_all_the_same(head: Head) -> None:
    """Should Ray change the sentence that has the reason, the failure is not lost with it."""
    source = (LOGS / "no_image.log").read_text()
    head.add("log", source.replace("Failed to launch 1 nodes of type badimage: Node", "No luck with badimage: Node"))
    [failure], _ = head.look()
    assert (failure.node_type, failure.code, failure.message) == ("badimage", "LaunchError", UNEXPLAINED)


def test_two_launches_at_once_are_counted_together(head: Head) -> None:
    """The provider's output does not say which launch it tells of."""
    for kind, text in [
        ("log", "Launching 2 nodes of type a."),
        ("log", "Launching 2 nodes of type b."),
        ("out", "Launched instance i-1 [state=pending, info=pending]"),
        ("log", "Launched 2 nodes of type a."),
        ("out", "Launched instance i-2 [state=pending, info=pending]"),
        ("out", "Launched instance i-3 [state=pending, info=pending]"),
    ]:
        assert head.launches.read([Line(kind, text, 1.0)], 1.0) == []
    [failure] = head.launches.read([Line("log", "Launched 2 nodes of type b.", 1.0)], 1.0)
    assert told(failure) == ("a and b", 4, 3, "", (), LaunchOutcome.PARTIAL)


def test_a_provider_that_prints_no_instances_launches_all_that_it_says(head: Head) -> None:
    lines = [Line("log", f"{verb} 2 nodes of type a.", 1.0) for verb in ("Launching", "Launched")]
    assert head.launches.read(lines, 1.0) == []


NODE = "i-08c5c10f8b4b0b186"
WORDS = "ray: No space left on device: pip could not install vllm"


def test_a_step_that_fails_is_told_at_once_with_the_commands_last_words(head: Head) -> None:
    head.write("setup", until="01:14:57,300")
    _, [trouble] = head.look(at("01:14:58,000"))
    assert trouble == SetupTrouble(
        NODE, "gpu", "172.31.0.7", "the start of Ray", WORDS, SetupState.RETRYING, 1, at("01:14:53,596"),
        at("01:14:57,188"),
    )  # fmt: skip


def test_a_node_that_is_given_up_is_told_with_the_number_of_attempts(head: Head) -> None:
    head.write("setup")
    _, troubles = head.look(at("01:16:18,000"))
    assert [(t.state, t.attempt) for t in troubles] == [
        (SetupState.RETRYING, 1),
        (SetupState.RETRYING, 2),
        (SetupState.RETRYING, 3),
        (SetupState.GAVE_UP, 3),
    ]
    assert {(t.node, t.node_type, t.address, t.message) for t in troubles} == {(NODE, "gpu", "172.31.0.7", WORDS)}


def test_a_node_that_does_not_answer_ssh_is_told_of_after_a_boots_time_with_sshs_words(head: Head) -> None:
    head.write("mute")
    began = at("01:16:19,929")
    assert head.look(began + SSH_PATIENCE - 0.1)[1] == []
    _, [trouble] = head.look(began + SSH_PATIENCE)
    assert (trouble.node, trouble.address, trouble.step) == ("i-85a8e26bb9ef638d6", "172.31.0.8", "SSH")
    assert (trouble.state, trouble.since) == (SetupState.WAITING, began)
    assert trouble.message == "Connection timed out"
    head.add(
        "out", "2026-11-23 01:19:30,000\tINFO log_timer.py:25 -- NodeUpdater: i-85a8e26bb9ef638d6: Got remote shell"
    )
    head.add("out", "  [LogTimer=1ms]\n")
    assert head.look(began + 200)[1] == []


def test_a_node_on_its_way_is_known_under_the_clouds_name(head: Head) -> None:
    instance = "910eb3e0-ec1a-4f17-a3f0-5c60583bd767"
    assert head.setups.cloud_id(instance) == instance
    head.write("setup", until="01:14:51,400")
    head.look()
    assert head.setups.cloud_id(instance) == NODE
    head.write("setup")
    head.look()
    assert head.setups.cloud_id(instance) == instance  # terminated: nobody asks any more


@pytest.mark.parametrize("coloured", [True, False])
def test_no_command_is_ever_taken_for_words(head: Head, coloured: bool) -> None:
    """Ray quotes the user's commands into its log, over as many lines as they have; they may hold secrets."""
    begin, end = ("`\x1b[1m", "\x1b[22m\x1b[26m`") if coloured else ("`", "`")
    head.write("setup", until="01:14:56,141")
    prefix = "2026-11-23 01:14:56,142\tVVINFO command_runner.py:401 -- "
    head.add("out", f"{prefix}Full command is {begin}ssh x 'export TOKEN=canary\nhf login canary\n'{end}\n")
    head.add("out", "hf: not found\n")
    head.add(
        "out", f"2026-11-23 01:14:56,178\tINFO log_timer.py:25 -- NodeUpdater: {NODE}: Setup commands failed [x]\n"
    )
    head.add(
        "log",
        f"2026-11-23 01:14:57,188\tINFO x.py:81 -- Ray installation failed on instance {NODE}: SSH command failed.\n",
    )
    _, [trouble] = head.look(at("01:14:58,000"))
    assert (trouble.step, trouble.message) == ("a setup command", "hf: not found")


def test_a_quotation_that_never_ends_hides_all_that_follows_it(head: Head) -> None:
    head.write("setup", until="01:14:56,141")
    head.add("out", "2026-11-23 01:14:56,142\tVVINFO x.py:401 -- Full command is `\x1b[1mssh x 'canary\ncanary too\n")
    head.add(
        "out", f"2026-11-23 01:14:56,178\tINFO log_timer.py:25 -- NodeUpdater: {NODE}: Setup commands failed [x]\n"
    )
    head.add("log", f"2026-11-23 01:14:57,188\tINFO x.py:81 -- Ray installation failed on instance {NODE}: x\n")
    _, [trouble] = head.look(at("01:14:58,000"))
    assert "canary" not in trouble.message


GANG = """\
2026-11-23 01:19:32,411\tINFO log_timer.py:25 -- P: Set tag ray-node-status=waiting-for-ssh on ['i-one', 'i-two']  [x]
2026-11-23 01:19:32,412\tINFO command_runner.py:234 -- Fetched IP: 172.31.0.62026-11-23 01:19:32,418\tINFO u.py:28 -- x
2026-11-23 01:19:32,420\tINFO command_runner.py:234 -- Fetched IP: 172.31.0.5
2026-11-23 01:19:32,420\tINFO log_timer.py:25 -- NodeUpdater: i-two: Got IP  [LogTimer=0ms]
2026-11-23 01:19:32,422\tINFO log_timer.py:25 -- NodeUpdater: i-one: Got IP  [LogTimer=10ms]
2026-11-23 01:19:33,677\tINFO log_timer.py:25 -- P: Set tag ray-node-status=syncing-files on ['i-one']  [LogTimer=8ms]
"""
"""As two nodes that are launched together were really set up: one tag call for both, lines joined, and the addresses
printed before and in another order than their nodes."""


def test_two_nodes_that_are_set_up_together(tmp_path: Path) -> None:
    (tmp_path / "monitor.out").write_text(GANG)
    (tmp_path / "monitor.err").write_text("ssh: connect to host 172.31.0.5 port 22: Connection timed out\r\n")
    setups, now = SetupLog(), 1e10
    setups.read(MonitorLog(tmp_path).poll(now), now)
    [trouble] = setups.waiting(now)
    assert (trouble.node, trouble.address, trouble.attempt) == ("i-two", "172.31.0.5", 1)
    assert trouble.message == "Connection timed out"


def test_a_node_that_was_ended_while_it_was_set_up_has_no_trouble(tmp_path: Path) -> None:
    gone = "Ray installation failed on instance i-one: wait_ready aborting because node detected as terminated."
    (tmp_path / "monitor.log").write_text(f"2026-11-23 01:23:02,522\tINFO threaded_ray_installer.py:81 -- {gone}\n")
    assert SetupLog().read(MonitorLog(tmp_path).poll(1e10), 1e10) == []


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (
            "botocore.exceptions.ClientError: An error occurred (UnauthorizedOperation) when calling the"
            " DescribeInstances operation: No.",
            "UnauthorizedOperation",
        ),
        ("botocore.exceptions.NoCredentialsError: No.", "NoCredentialsError"),
    ],
)
def test_an_autoscaler_that_may_not_even_look(tmp_path: Path, last: str, code: str) -> None:
    first = "2026-11-23 01:27:44,450\tERROR autoscaler.py:233 -- Exiting due to cli_logger.abort()\n"
    (tmp_path / "monitor.log").write_text(f"{first}Traceback (most recent call last):\n{last}\n")
    [failure] = LaunchLog().read(MonitorLog(tmp_path).poll(1e10), 1e10)
    assert (failure.code, failure.message, failure.outcome) == (code, "No.", LaunchOutcome.BLIND)
    assert failure.at < 1e10


def test_how_far_a_nodes_set_up_is_is_seen_as_it_goes_on(head: Head) -> None:
    steps = []
    for until in ("01:14:53,000", "01:14:54,000", "01:14:55,500", "01:14:57,000"):
        for kind in ("log", "out"):
            (head.logs / f"monitor.{kind}").unlink(missing_ok=True)
        other = Head(head.logs)
        other.write("setup", until)
        other.look()
        steps.append(other.setups.step("i-08c5c10f8b4b0b186"))
    assert steps == [None, SetupStep.SSH, SetupStep.FILES, SetupStep.SETUP]
    assert head.setups.step("i-unknown") is None

"""The parts of a launch that need no Ray: the lock, the pipe, and what of an output is shown."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elastic_deploy.cluster.line_pipe import LinePipe
from elastic_deploy.cluster.telling import telling_lines
from elastic_deploy.cluster.turn import turn
from elastic_deploy.model.errors import RefusedError

HOLD = """
import sys, time
from elastic_deploy.cluster.turn import turn
with turn("c", "launching"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_turn_is_refused_while_another_process_has_it_and_says_which(home: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RefusedError, match=f"Process {holder.pid} is launching c at this moment"), turn("c", "x"):
            pass
    finally:
        holder.kill()
        holder.communicate(timeout=10)
    with turn("c", "taking down"):  # a holder that was killed holds nothing
        assert (home / "c" / "lock").exists()
    assert list((home / "c").iterdir()) == []


def test_a_turn_is_refused_to_the_same_process_too(home: Path) -> None:
    assert not home.exists()
    with turn("c", "launching"), pytest.raises(RefusedError), turn("c", "taking down"):
        pass


def test_turns_of_two_clusters_do_not_meet(home: Path) -> None:
    assert not home.exists()
    with turn("a", "launching"), turn("b", "launching"):
        pass


def test_a_pipe_gives_whole_lines_and_never_waits_longer_than_asked() -> None:
    with LinePipe() as pipe:
        os.write(pipe.write_end, b"one\ntw")
        assert pipe.read(5) == ["one"]
        began = time.monotonic()
        assert pipe.read(0.2) == []
        assert time.monotonic() - began < 2
        os.write(pipe.write_end, b"o\n")
        assert pipe.read(5) == ["two"]
        assert not pipe.ended
        pipe.close_write_end()
        assert pipe.read(5) == []
        assert pipe.ended


TELLING = [
    ("nothing", "", "", ""),
    ("only the program's word", "", "ValueError: no such zone", "ValueError: no such zone"),
    (
        "the cloud's words among much else",
        "2026-11-22 Checking AWS environment settings\n\x1b[31mAn error occurred (UnauthorizedOperation) when"
        " calling the RunInstances operation: You are not authorized.\x1b[0m\nUseful commands:\n  ray down",
        "",
        "AWS refused RunInstances: UnauthorizedOperation: You are not authorized. Give the caller the right that is"
        " named: the launcher's for the head, for workers the head's instance role",
    ),
    (
        "a traceback is left out, its last line is not",
        'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    raise Boom()\nBoom: it failed',
        "Boom: it failed",
        "Boom: it failed",
    ),
    ("without any telling line, the last ones", "a\nb\nc\nd", "", "b; c; d"),
    ("decoration goes", "  !!!\n  Setup command failed. !!!\n", "", "Setup command failed"),
]


@pytest.mark.parametrize(("output", "error", "expected"), [row[1:] for row in TELLING], ids=[row[0] for row in TELLING])
def test_what_tells_of_an_output_is_shown(output: str, error: str, expected: str) -> None:
    assert telling_lines(output, error) == expected


def test_no_more_is_shown_than_a_person_reads() -> None:
    shown = telling_lines("\n".join(f"error {number} {'x' * 1000}" for number in range(50)), "")
    assert len(shown) < 1000

"""An engine's processes are ended to the last, wherever they have got to, and nobody else's."""

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from elastic_deploy.cluster.local.shared_memory import remove_unused
from elastic_deploy.model.names import ENGINE_MARK
from elastic_deploy.runtime.sweep import SETTLED, end, find, orphaned_memory

LIMIT = 20.0
SLEEP = "import time; time.sleep(120)"
MARK = f"engine/test-{os.getpid()}/r0/g1"
OTHER = f"engine/test-{os.getpid()}/r0/g11"


class Processes:
    """Processes that a test starts, each of which says its pid, and those of its children, once it is ready."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []
        self._known: list[psutil.Process] = []

    def start(self, code: str, mark: str | None = MARK, **environment: str) -> list[psutil.Process]:
        """Run code that prints pids on one line; those processes."""
        env = {name: value for name, value in os.environ.items() if name != ENGINE_MARK} | environment
        if mark is not None:
            env[ENGINE_MARK] = mark
        process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
        self._started.append(process)
        assert process.stdout is not None
        found = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        self._known += found
        return found

    def clean_up(self) -> None:
        for known in self._known:
            if known.is_running():
                known.kill()
        for process in self._started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def processes() -> Iterator[Processes]:
    running = Processes()
    yield running
    running.clean_up()


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


ALONE = "import os, time; print(os.getpid(), flush=True); time.sleep(120)"

FAMILY = """
import os, subprocess, sys, time
grandchild = "import os, time; print(os.getpid(), flush=True); time.sleep(120)"
child = f'''
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", {grandchild!r}], stdout=subprocess.PIPE, start_new_session=True)
print(os.getpid(), grandchild.stdout.readline().decode().strip(), flush=True)
time.sleep(120)
'''
started = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, start_new_session=True)
print(os.getpid(), started.stdout.readline().decode().strip(), flush=True)
time.sleep(120)
"""

ORPHANS = FAMILY.replace("flush=True)\ntime.sleep(120)\n", "flush=True)\n")

TITLED = """
import os, time, setproctitle
setproctitle.setproctitle("VLLM::Worker_TP0 " + "x" * 2000)
print(os.getpid(), flush=True)
time.sleep(120)
"""


def test_nothing_to_end_is_no_error() -> None:
    assert end(MARK, frozenset()) == 0


def test_a_marked_process_goes_and_one_of_another_engine_or_of_none_stays(processes: Processes) -> None:
    [mine] = processes.start(ALONE)
    [others] = processes.start(ALONE, OTHER)
    [nobodys] = processes.start(ALONE, None)
    assert find(MARK, frozenset()) == {mine}
    assert end(MARK, frozenset()) == 1
    assert [alive(process) for process in (mine, others, nobodys)] == [False, True, True]


def test_children_and_grandchildren_in_sessions_of_their_own_go(processes: Processes) -> None:
    family = processes.start(FAMILY)
    assert len({os.getsid(process.pid) for process in family}) == 3
    assert end(MARK, frozenset()) == 3
    assert not any(map(alive, family))


def test_the_unmarked_family_of_a_process_known_by_its_pid_goes(processes: Processes) -> None:
    family = processes.start(FAMILY, None)
    assert end(MARK, frozenset({family[0].pid})) == 3
    assert not any(map(alive, family))


def test_an_orphan_whose_parents_have_ended_goes_by_its_mark(processes: Processes) -> None:
    *ended, orphan = processes.start(ORPHANS)
    deadline = time.monotonic() + LIMIT
    while any(map(alive, ended)):
        assert time.monotonic() < deadline
    assert end(MARK, frozenset()) == 1
    assert not alive(orphan)


def test_one_that_changed_its_title_is_still_known_by_its_mark(processes: Processes) -> None:
    """vLLM's workers do; SPT_NOENV keeps setproctitle from writing over the environment that /proc shows."""
    [worker] = processes.start(TITLED, SPT_NOENV="1")
    assert worker.cmdline()[0].startswith("VLLM::")
    assert end(MARK, frozenset()) == 1
    assert not alive(worker)


def test_without_spt_noenv_the_mark_would_be_lost(processes: Processes) -> None:
    """Why the engine's environment has it; should this fail one day, SPT_NOENV is no longer needed."""
    [worker] = processes.start(TITLED)
    assert worker.cmdline()[0].startswith("VLLM::")
    assert find(MARK, frozenset()) == set()


def test_one_that_ignores_sigterm_or_is_stopped_goes(processes: Processes) -> None:
    [deaf] = processes.start("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + ALONE)
    [stopped] = processes.start(ALONE)
    stopped.send_signal(signal.SIGSTOP)
    assert end(MARK, frozenset()) == 2
    assert not alive(deaf)
    assert not alive(stopped)


def test_a_process_that_nobody_reaps_holds_nothing_up(processes: Processes) -> None:
    """In a container whose first process reaps no orphans, every killed process stays a zombie."""
    code = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], env={{**os.environ, {ENGINE_MARK!r}: {MARK!r}}})
print(child.pid, flush=True)
time.sleep(120)
"""
    [child] = processes.start(code, None)
    deadline = time.monotonic() + LIMIT
    while not find(MARK, frozenset()):  # its environment is the parent's until it has been executed
        assert time.monotonic() < deadline
    began = time.monotonic()
    assert end(MARK, frozenset()) == 1
    assert time.monotonic() - began < 5
    assert child.status() == psutil.STATUS_ZOMBIE
    assert end(MARK, frozenset()) == 0


def test_who_sweeps_and_what_it_runs_under_are_never_swept() -> None:
    code = f"""
import os
from elastic_deploy.runtime.sweep import end
print(end({MARK!r}, frozenset({{os.getpid(), os.getppid()}})))
"""
    env = {**os.environ, ENGINE_MARK: MARK}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_a_process_born_while_the_others_die_goes_too(processes: Processes) -> None:
    code = """
import os, subprocess, sys, time
print(os.getpid(), flush=True)
while True:
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(120)"], start_new_session=True)
    time.sleep(0.05)
"""
    processes.start(code)
    time.sleep(0.5)
    assert end(MARK, frozenset()) > 1
    assert find(MARK, frozenset()) == set()


MAPPING = """
import mmap, os, time
one, other = os.environ["FILES"].split(":")
with open(one, "r+b") as file:
    kept = mmap.mmap(file.fileno(), 0)
opened = open(other, "r+b")
print(os.getpid(), flush=True)
time.sleep(120)
"""


@pytest.fixture
def shared() -> Iterator[Callable[[str], Path]]:
    """Makes files in shared memory."""
    made: list[Path] = []

    def make(name: str) -> Path:
        path = Path("/dev/shm") / f"elastic-deploy-test-{os.getpid()}-{name}"
        path.write_bytes(b"x" * mmap.PAGESIZE)
        made.append(path)
        return path

    yield make
    for path in made:
        path.unlink(missing_ok=True)


def test_shared_memory_goes_with_its_last_user_and_not_before(
    processes: Processes, shared: Callable[[str], Path]
) -> None:
    mapped, opened, shared_with_another, strangers = map(shared, ("mapped", "opened", "both", "stranger"))
    processes.start(MAPPING, FILES=f"{mapped}:{opened}")
    processes.start(MAPPING, FILES=f"{shared_with_another}:{opened}")
    processes.start(MAPPING, OTHER, FILES=f"{shared_with_another}:{strangers}")
    assert end(MARK, frozenset()) == 2
    assert [path.exists() for path in (mapped, opened, shared_with_another, strangers)] == [False, False, True, True]
    assert end(OTHER, frozenset()) == 1
    assert not shared_with_another.exists()


def test_memory_that_killed_programs_left_is_known_by_its_name_and_age(tmp_path: Path) -> None:
    now = time.time()
    since = now - 100
    ages = {
        "psm_0123abcd": 50.0,
        "sem.mp-a1_b2c3d": 50.0,
        "psm_89abcdef": SETTLED - 2,  # its maker may be about to map it
        "psm_00000000": 150.0,  # older than the engine
        "psm_not-hex!": 50.0,
        "a-users-own": 50.0,
        "plasma_0123abcd": 50.0,
    }
    for name, age in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now - age, now - age))
    assert sorted(orphaned_memory(since, tmp_path)) == [
        str(tmp_path / "psm_0123abcd"),
        str(tmp_path / "sem.mp-a1_b2c3d"),
    ]


def test_the_memory_of_a_killed_program_is_found_where_python_makes_it(processes: Processes) -> None:
    code = """
import os, time
from multiprocessing.shared_memory import SharedMemory
made = SharedMemory(create=True, size=4096)
os.utime("/dev/shm/" + made.name.lstrip("/"), (time.time() - 60,) * 2)
print(os.getpid(), flush=True)
time.sleep(120)
"""
    since = time.time() - 90
    before = set(orphaned_memory(since))
    [maker] = processes.start(code)
    made = set(orphaned_memory(since)) - before
    assert len(made) == 1
    assert remove_unused(made) == made, "in use"
    maker.kill()
    for child in maker.children():  # Python's resource tracker would tidy up
        child.kill()
    maker.wait(LIMIT)
    deadline = time.monotonic() + LIMIT
    while made & set(orphaned_memory(since)) and remove_unused(made):
        assert time.monotonic() < deadline
    assert not any(Path(path).exists() for path in made)

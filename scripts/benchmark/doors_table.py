"""What scripts/bench-doors has found, and the table of it that a person reads."""

from collections.abc import Callable
from dataclasses import dataclass

from scripts.benchmark.under_kill import Load, Run

OURS = "elastic-deploy"
GOAL_REQUESTS, GOAL_STALL = 200, 5.0


@dataclass(frozen=True, slots=True)
class Results:
    """All that was found. `noticed`: seconds from the kill until our supervisor said that it had lost something."""

    at: str
    cores: int
    versions: dict[str, str]
    replicas: int
    load: Load
    texts_of_a_question: int
    runs: tuple[Run, ...]
    noticed: float | None

    @property
    def ours(self) -> Run | None:
        """Our own run."""
        return next((one for one in self.runs if one.door == OURS), None)

    def goals(self) -> list[tuple[str, bool]]:
        """Each goal in words, with whether it is met."""
        if self.ours is None:
            return []
        found = self.ours.found
        requests = f"{found.harmed} of {found.requests} failed, cut short or different (goal: 0 of {GOAL_REQUESTS})"
        goals = [(requests, found.harmed == 0 and found.requests >= GOAL_REQUESTS)]
        if self.replicas > 1:
            noticed = self.noticed or 0.0
            after = max(0.0, found.stall - noticed)
            stall = f"longest stall {found.stall:.1f} s, {after:.1f} s beyond the {noticed:.1f} s until it was noticed"
            goals.append((f"{stall} (goal: {GOAL_STALL:g} s)", after <= GOAL_STALL))
        return goals


def summary(one: Run) -> str:
    """A run in one line."""
    found = one.found
    return f"{one.door}: {found.requests} requests, {found.failed} failed, {found.cut} cut, {found.differing} different"


ROWS: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ("requests", lambda one: str(one.found.requests)),
    ("  in flight at the kill", lambda one: str(one.found.in_flight)),
    ("  of these in the middle of an answer", lambda one: str(one.found.mid_answer)),
    ("failed, with nothing told", lambda one: str(one.found.failed)),
    ("cut short", lambda one: str(one.found.cut)),
    ("another text than undisturbed", lambda one: str(one.found.differing)),
    ("longest silence within an answer", lambda one: f"{one.found.stall:.2f} s"),
    ("longest wait for an answer's first text", lambda one: f"{one.found.first_text:.2f} s"),
    ("whole answers, median", lambda one: f"{one.found.median:.2f} s"),
    ("whole answers, p99", lambda one: f"{one.found.p99:.2f} s"),
    ("the last failure ended after the kill", lambda one: stopped(one.found.failing_stopped)),
    ("the machine's load, before and after", lambda one: f"{one.load:.1f}, {one.load_after:.1f}"),
)


def stopped(seconds: float | None) -> str:
    """Seconds, or that there is nothing to tell."""
    return "no failure" if seconds is None else f"{seconds:.1f} s"


def show(results: Results) -> None:
    """The table that a person reads."""
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    print(f"{results.at}, {results.cores} cores; {versions}; tiny model on local nodes,")
    clients = f"{results.load.clients} clients, each with one stream after another"
    print(f"replicas: {results.replicas}; {clients}; one replica's raylet killed meanwhile.")
    if results.texts_of_a_question > 1:
        print(
            f"Undisturbed, one question had {results.texts_of_a_question} texts: the engines do not repeat themselves."
        )
    print(f"\n{'':41}" + "".join(f"{one.door:>16}" for one in results.runs))
    for title, cell in ROWS:
        print(f"{title:41}" + "".join(f"{cell(one):>16}" for one in results.runs))
    print()
    for one in results.runs:
        if one.found.errors:
            print(f"{one.door}: " + ", ".join(f"{times} × {error}" for error, times in one.found.errors.items()))
    for goal, met in results.goals():
        print(f"{'met' if met else 'MISSED'}: {goal}")

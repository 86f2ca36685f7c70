"""What scripts/bench-waiting has found, as the table that a person reads."""

from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

from elastic_deploy.model.duration import format_duration
from tests.sim.outcomes import Summary

SHOWN = 10
"""Broken rules that are printed; the first of them is where to look."""


def _first(seconds: float) -> str:
    return format_duration(round(seconds))


ROWS: tuple[tuple[str, Callable[[Summary], float], Callable[[float], str]], ...] = (
    ("time to first serve, median", lambda one: one.median, _first),
    ("  nine of ten within", lambda one: one.p90, _first),
    ("  worst", lambda one: one.firsts[-1], _first),
    ("  never in the whole history", lambda one: one.never, lambda number: f"{number:g}"),
    ("share of the time it serves: full shape", lambda one: one.full, "{:.1%}".format),
    ("  a smaller shape", lambda one: one.degraded, "{:.1%}".format),
    ("  nothing", lambda one: 1 - one.full - one.degraded, "{:.1%}".format),
    ("share of the GPUs that serve", lambda one: one.gpus, "{:.1%}".format),
    ("USD for a serving GPU-hour", lambda one: one.usd_per_gpu_hour, "{:.2f}".format),
    ("USD a day for parts of gangs", lambda one: one.usd_waiting, "{:,.0f}".format),
    ("moves a day", lambda one: one.moves, "{:.1f}".format),
    ("decisions a day", lambda one: one.decisions, "{:.0f}".format),
)
COMPARED = (
    "time to first serve, median",
    "  nine of ten within",
    "USD for a serving GPU-hour",
    "USD a day for parts of gangs",
)
"""Rows whose ratio to the plain policy, the first, is told as well."""


def show(console: Console, title: str, found: Mapping[str, Summary]) -> None:
    """Print the table, and what was broken."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for policy in found:
        table.add_column(policy, justify="right")
    plain = next(iter(found.values()))
    for name, figure, told in ROWS:
        cells = []
        for one in found.values():
            ratio = figure(one) / figure(plain) if name in COMPARED and one is not plain and figure(plain) else None
            cells.append(told(figure(one)) + ("" if ratio is None else f" ({ratio:.2f}x)"))
        table.add_row(name, *cells)
    console.print(table)
    for policy, one in found.items():
        for line in one.broken[:SHOWN]:
            console.print(f"{policy}, {line}", markup=False)
        if len(one.broken) > SHOWN:
            console.print(f"{policy}: {len(one.broken) - SHOWN} more", markup=False)

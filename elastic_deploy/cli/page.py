"""A page of text and tables, as values, and how it is printed: with rich on a terminal, as plain lines elsewhere.

Pages are made by `render`. Rich is imported only where it draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

_COLOURS = {
    "ready": "green",
    "joined": "green",
    "CREATED": "green",
    "degraded": "yellow",
    "waiting": "yellow",
    "starting": "yellow",
    "asked": "yellow",
    "launching": "yellow",
    "draining": "yellow",
    "PENDING": "yellow",
    "RESCHEDULING": "yellow",
    "recovering": "magenta",
    "failed": "red",
    "dead": "red",
    "stopped": "dim",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header, every cell a text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and their values, one below the other."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """What the blocks after it are about."""

    text: str


Page = Sequence[Heading | Facts | Table]


def plain(page: Page) -> str:
    """The page as lines; columns are aligned by spaces."""
    lines: list[str] = []
    for block in page:
        if isinstance(block, Heading):
            lines += ["", block.text] if lines else [block.text]
        elif isinstance(block, Facts):
            lines += _aligned([row for row in block.rows if row[1]])
        elif block.rows:
            lines += _aligned([block.header, *block.rows])
    return "\n".join(lines)


def drawn(page: Page) -> "Group":
    """The page for a terminal."""
    from rich import box, table
    from rich.console import Group, RenderableType
    from rich.text import Text

    blocks: list[RenderableType] = []
    for block in page:
        if isinstance(block, Heading):
            blocks += [Text(), Text(block.text, style="bold")] if blocks else [Text(block.text, style="bold")]
        elif isinstance(block, Facts):
            grid = table.Table.grid(padding=(0, 2))
            for name, value in block.rows:
                if value:
                    grid.add_row(Text(f"  {name}", style="dim"), Text(value, style=_COLOURS.get(value, "")))
            blocks.append(grid)
        elif block.rows:
            drawing = table.Table(box=box.SIMPLE_HEAD, pad_edge=True, header_style="dim")
            for name in block.header:
                drawing.add_column(name, overflow="fold")
            for row in block.rows:
                drawing.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
            blocks.append(drawing)
    return Group(*blocks)


def print_page(page: Page) -> None:
    """Print the page on stdout, as plain as the contract wants it there."""
    import sys

    from elastic_deploy.cli.terminal import is_plain

    if is_plain(sys.stdout):
        print(plain(page))
        return
    from rich.console import Console

    Console().print(drawn(page))


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]

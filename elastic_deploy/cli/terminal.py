"""What a command prints where: data to stdout, words to stderr, and questions only where a person sits.

Used by every command. The rules are the contract's: no colour, no drawing and no question where stderr is no terminal,
or NO_COLOR or CI is set.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO


def is_plain(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether nothing but plain lines may be written to `stream`."""
    return not stream.isatty() or bool(environment.get("NO_COLOR")) or bool(environment.get("CI"))


def may_ask() -> bool:
    """Whether there is a person to ask."""
    return not is_plain(sys.stderr) and sys.stdin.isatty()


def say(line: str) -> None:
    """A line for the person, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)


def note(line: str) -> None:
    """A line for the person, as it is."""
    print(line, file=sys.stderr, flush=True)


def ask(question: str, *, default: bool) -> bool:
    """A yes or no from the person; `default` where there is nobody, or no answer."""
    if not may_ask():
        return default
    import click

    return click.confirm(question, default=default, err=True)


def print_json(document: Any, *, lines: bool = False) -> None:
    """One JSON document on stdout, on one line if `lines`."""
    print(json.dumps(document, indent=None if lines else 2, ensure_ascii=False), flush=True)

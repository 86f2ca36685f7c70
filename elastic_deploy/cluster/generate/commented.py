"""YAML with comments: a tree of plain values, in which a value may carry what stands above it, and its text.

Used by everything that `generate` writes. A question (`# TODO(you): ...`) stands beside its value, so that the list of
questions and the file cannot disagree. Pure.
"""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from elastic_deploy.cluster.yaml_source import dotted

WIDTH = 120
_LIST_WIDTH = 136
"""A list's item may be a little longer before it takes a line for each of its keys: 33 network interfaces do."""

_TODO = "TODO(you): "


@dataclass(frozen=True, slots=True)
class Note:
    """A value with the comment above it, the question about it, and the anchor under which it is used again.

    Paragraphs are wrapped; a line that starts with a blank is kept as it is.
    """

    value: Any
    comment: str = ""
    question: str = ""
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Again:
    """The value of the note with that anchor, once more."""

    anchor: str
    value: Any


@dataclass(frozen=True, slots=True)
class Command:
    """One shell command, written over several lines, each of which a blank can join to the next."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Something that only the user knows; `place` is the key's path in the file."""

    place: str
    sentence: str


def plain(tree: Any) -> Any:
    """The values alone: what a reader of the file gets."""
    if isinstance(tree, (Note, Again)):
        return plain(tree.value)
    if isinstance(tree, Command):
        return " ".join(tree.lines)
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [plain(value) for value in tree]
    return tree


def questions(tree: Any, above: tuple[str | int, ...] = ()) -> Iterator[Question]:
    """Every question in the tree, in the order of the file."""
    if isinstance(tree, Note):
        if tree.question:
            yield Question(dotted(above), tree.question.partition("\n")[0].rstrip(":"))
        yield from questions(tree.value, above)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from questions(value, (*above, key))
    elif isinstance(tree, (list, tuple)):
        for place, value in enumerate(tree):
            yield from questions(value, (*above, place))


def render(tree: Mapping[str, Any], header: str) -> str:
    """The whole file. A top-level key with a comment is set off by an empty line."""
    lines = _comment(header, 0)
    for key, value in tree.items():
        noted = isinstance(value, Note) and (value.comment or value.question)
        if noted and lines:
            lines.append("")
        lines += _pair(key, value, 0)
    return "\n".join(lines) + "\n"


def _pair(key: str, value: Any, indent: int) -> list[str]:
    """`key: value` with its comments above it."""
    lines, anchor = [], ""
    if isinstance(value, Note):
        lines = _above(value, indent)
        anchor = f" &{value.anchor}" if value.anchor else ""
        value = value.value
    start = f"{' ' * indent}{_scalar(key)}:{anchor}"
    return lines + _value(start, value, indent + 2)


def _item(value: Any, indent: int) -> list[str]:
    """`- value` of a list, with its comments above it."""
    lines = []
    if isinstance(value, Note):
        lines, value = _above(value, indent), value.value
    start = f"{' ' * indent}-"
    if isinstance(value, Mapping) and value and not _fits(start, value, _LIST_WIDTH):
        block = [line for key, each in value.items() for line in _pair(key, each, indent + 2)]
        first = next(place for place, line in enumerate(block) if not line.lstrip(" ").startswith("#"))
        block[first] = f"{start} {block[first].lstrip(' ')}"
        # Above the dash a comment stands as far left as the dash: further right, a folded command before it would
        # take it for its own next line.
        above = [line[2:] for line in block[:first]]
        return lines + above + block[first:]
    if isinstance(value, Mapping):
        return [*lines, f"{start} {_flow(value)}"]
    return lines + _value(start, value, indent + 2)


def _value(start: str, value: Any, indent: int) -> list[str]:
    if isinstance(value, Command):
        return [f"{start} >-", *(f"{' ' * indent}{line}" for line in value.lines)]
    if not isinstance(value, (Mapping, list, tuple)):
        return [f"{start} {_alone(value)}"]
    if not value or _fits(start, value):
        return [f"{start} {_flow(value)}"]
    if isinstance(value, Mapping):
        return [start, *(line for key, each in value.items() for line in _pair(key, each, indent))]
    return [start, *(line for each in value for line in _item(each, indent))]


def _fits(start: str, value: Any, width: int = WIDTH) -> bool:
    """Whether `value` may stand behind `start` on one line: nothing in it has a comment or many lines."""
    return not _has_notes(value) and len(start) + 1 + len(_flow(value)) <= width


def _has_notes(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_notes(each) for each in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_notes(each) for each in value)
    if isinstance(value, Note):
        return bool(value.comment or value.question) or _has_notes(value.value)
    return isinstance(value, Command)


def _flow(value: Any) -> str:
    if isinstance(value, Again):
        return f"*{value.anchor}"
    if isinstance(value, Note):
        return f"&{value.anchor} {_flow(value.value)}" if value.anchor else _flow(value.value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(each) for each in value) + "]"
    return _scalar(value)


def _alone(value: Any) -> str:
    """A scalar that ends its line, and needs fewer quotes for it."""
    if isinstance(value, (Again, Note)):
        return _flow(value)
    return yaml.safe_dump(value, width=10**9, allow_unicode=True).removesuffix("...\n").removesuffix("\n")


def _scalar(value: Any) -> str:
    # In a list, so that what would end a value there is quoted.
    return yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True).removesuffix("\n")[1:-1]


def _above(note: Note, indent: int) -> list[str]:
    lines = _comment(note.comment, indent)
    if note.question:
        lines += _comment(_TODO + note.question, indent)
    return lines


def _comment(text: str, indent: int) -> list[str]:
    lines = []
    for line in text.splitlines():
        kept = line.startswith(" ") or not line
        wrapped = [line] if kept else textwrap.wrap(line, WIDTH - indent - 2, break_on_hyphens=False)
        lines += [f"{' ' * indent}# {each}".rstrip() for each in wrapped]
    return lines


def wrapped_command(command: str, indent: int = 2) -> str:
    """A command line of any length, over lines that a shell reads as one."""
    lines = textwrap.wrap(command, WIDTH - indent - 8, break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(" " * (indent if place == 0 else indent + 4) + line for place, line in enumerate(lines))

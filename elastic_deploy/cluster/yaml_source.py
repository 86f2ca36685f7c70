"""A YAML file as written: its values, and the line on which each stands, for errors that name the place.

Used by `cluster.config` and its siblings. Knows YAML, and nothing of Ray or of clusters. What it refuses, beyond what
YAML itself does, is what Ray would read wrongly without a word: a key that stands twice (the last wins), and values
that are not JSON (dates, binary, recursion), on which `ray up` fails later with a traceback.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from elastic_deploy.model.errors import InvalidConfigError

Keys = Sequence[str | int]
"""The way to a value from the top: mapping keys and list places."""


@dataclass(frozen=True, slots=True)
class Source:
    """A YAML file whose top level is a mapping. `raw` is what `yaml.safe_load` gives, untouched."""

    path: Path
    raw: dict[str, Any]
    tree: yaml.MappingNode

    def error(self, keys: Keys, reason: str, mend: str) -> InvalidConfigError:
        """The error to raise for the value at `keys`; where it is not written, the place is that of its parent."""
        line, _ = self.place(keys)
        end = "" if mend.endswith("?") else "."
        return InvalidConfigError(f"{self.path}, line {line}, {dotted(keys)}: {reason}. {mend}{end}")

    def written(self, keys: Keys) -> str:
        """The value at `keys` as it stands in the file; empty where there is none, or more than a word."""
        node: yaml.Node = self.tree
        for key in keys:
            found = _child(node, key)
            if found is None:
                return ""
            _, node = found
        return str(node.value) if isinstance(node, yaml.ScalarNode) else ""

    def place(self, keys: Keys) -> tuple[int, int]:
        """Line and column, from 1, of the key or list item at `keys`, or of the closest parent that is written."""
        node: yaml.Node = self.tree
        mark = node.start_mark
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            mark, node = found
        return mark.line + 1, mark.column + 1


def dotted(keys: Keys) -> str:
    """`keys` as people write them: available_node_types.gpu.resources.GPU, setup_commands[0]."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".") or "the top level"


def read(path: Path) -> Source:
    """Read the YAML file at `path`. Raises InvalidConfigError for all that can be wrong with a file and with YAML."""
    text = _text(path)
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is None:
            raise InvalidConfigError(f"{path} is empty: write a Ray cluster YAML there.")
        if not isinstance(tree, yaml.MappingNode):
            raise InvalidConfigError(
                f"{path}: its top level is {_kind(tree)}, not a mapping: a cluster YAML starts with keys such as"
                " cluster_name and provider."
            )
        _refuse_duplicates(path, tree)
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        why = ", ".join(part for part in (error.context, error.problem) if part)
        raise InvalidConfigError(f"{path}{where} is no valid YAML: {why}. Mend the syntax there.") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidConfigError(
            f"{path}, line {line} is no valid YAML: the character {chr(error.character)!r} may not stand in it."
            " Remove it."
        ) from error
    except ValueError as error:
        raise InvalidConfigError(f"{path}: a value cannot be read ({error}). Put it in quotes.") from error
    except RecursionError as error:
        raise InvalidConfigError(f"{path}: its values are nested too deeply to be read. Write it flatter.") from error
    source = Source(path, raw, tree)
    _refuse_odd_values(source)
    return source


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise InvalidConfigError(f"{path} is a directory, not a file: name the cluster YAML in it.")
        if path.exists() and not path.is_file():
            raise InvalidConfigError(f"{path} is not a regular file: name a cluster YAML.")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidConfigError(
            f"{path} does not exist: name a cluster YAML, or start from one of the cluster-templates."
        ) from error
    except OSError as error:
        raise InvalidConfigError(f"{path} cannot be read ({error.strerror}): mend its permissions or name.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidConfigError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8. Save the file as UTF-8."
        ) from error


def _child(node: yaml.Node, key: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark, node.value[key]
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == str(key):
                return key_node.start_mark, value_node
    return None


def _refuse_duplicates(path: Path, tree: yaml.MappingNode) -> None:
    for mapping in _mappings(tree):
        lines: dict[tuple[str, str], int] = {}
        for key_node, _ in mapping.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            line = key_node.start_mark.line + 1
            first = lines.setdefault((key_node.tag, key_node.value), line)
            # A merge key may stand several times: its mappings are merged, none is lost.
            if first != line and key_node.value != "<<":
                raise InvalidConfigError(
                    f"{path}, line {line}, column {key_node.start_mark.column + 1}: the key {key_node.value!r} stands"
                    f" twice, first in line {first}, and Ray would take the last. Remove one of them."
                )


def _mappings(tree: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Every mapping under `tree` once, however many aliases lead to it, in the order of the file."""
    seen: set[int] = set()
    todo = [tree]
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            todo.extend(part for pair in reversed(node.value) for part in reversed(pair))
        elif isinstance(node, yaml.SequenceNode):
            todo.extend(reversed(node.value))


def _refuse_odd_values(source: Source) -> None:
    """Refuse what Ray cannot turn into JSON: it does so with the whole configuration before it launches."""
    done: set[int] = set()

    def visit(value: object, keys: tuple[str | int, ...], above: frozenset[int]) -> None:
        if id(value) in above:
            raise source.error(keys, "contains itself through an alias", "Write it out")
        if isinstance(value, (dict, list)) and id(value) not in done:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                if not isinstance(key, str) and isinstance(value, dict):
                    raise source.error(keys, f"the key {key!r} is not text", "Put the key in quotes")
                visit(item, (*keys, key), above | {id(value)})
            done.add(id(value))
        elif not isinstance(value, (dict, list, str, int, float, type(None))):
            raise source.error(keys, f"is read as a {type(value).__name__}, not as text", "Put the value in quotes")

    visit(source.raw, (), frozenset())


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"

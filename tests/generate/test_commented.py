"""The YAML writer: whatever tree it is given, a reader gets the tree's values, and the questions stand beside them."""

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_deploy.cluster.generate.commented import (
    WIDTH,
    Again,
    Command,
    Note,
    plain,
    questions,
    render,
    wrapped_command,
)

WORDS = st.sampled_from(["", "a", "1", "true", "null", "yes", "1.5", "- x", "a: b", "#", "it's", '"', "é", "x" * 130])
TEXT = st.one_of(WORDS, st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=20))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), TEXT)
LINES = st.lists(st.sampled_from(["set -e;", "if [ -f x ];", "then 'y: z' #", "$HOME/*.txt", "&&"]), min_size=1)


def noted(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.builds(Note, values, comment=TEXT, question=st.sampled_from(["", "which?\n  do this"])))


VALUES = st.recursive(
    noted(st.one_of(SCALARS, st.builds(lambda lines: Command(tuple(lines)), LINES))),
    lambda inner: noted(
        st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT.filter(bool), inner, min_size=1, max_size=4))
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(tree=st.dictionaries(TEXT.filter(bool), VALUES, min_size=1, max_size=5), header=TEXT)
def test_a_reader_gets_the_values(tree: dict[str, Any], header: str) -> None:
    text = render(tree, header)
    assert yaml.safe_load(text) == plain(tree)
    assert text.count("TODO(you): which?") == len(list(questions(tree)))


def test_comments_stand_above_their_values_and_are_wrapped() -> None:
    tree = {"a": Note({"b": Note(1, "word " * 60, "what?\n  like this")}, "Why."), "c": 2}
    assert render(tree, "Head.\n  kept  as it is").splitlines() == [
        "# Head.",
        "#   kept  as it is",
        "",
        "# Why.",
        "a:",
        "  # " + " ".join(["word"] * 23),
        "  # " + " ".join(["word"] * 23),
        "  # " + " ".join(["word"] * 14),
        "  # TODO(you): what?",
        "  #   like this",
        "  b: 1",
        "c: 2",
    ]


def test_a_value_is_written_once_and_used_again() -> None:
    tree = {"a": Note([1], anchor="x"), "b": Again("x", [1]), "c": {"d": Again("x", [1])}, "e": [Note("s", anchor="y")]}
    assert render(tree, "") == "a: &x [1]\nb: *x\nc: {d: *x}\ne: [&y s]\n"
    assert yaml.safe_load(render(tree, "")) == plain(tree)


def test_questions_name_the_place() -> None:
    tree = {"a": [{"b": Note(1, question="how many:\n  count")}]}
    assert [(each.place, each.sentence) for each in questions(tree)] == [("a[0].b", "how many")]


def test_a_long_command_is_wrapped_into_what_a_shell_reads_as_one() -> None:
    command = "elastic-deploy generate aws " + " ".join(f"--option-{n} value" for n in range(20))
    text = wrapped_command(command)
    assert text.replace(" \\\n", " ").split() == command.split()
    assert max(map(len, text.splitlines())) <= WIDTH - 2


def test_a_comment_behind_a_folded_command_is_no_part_of_it() -> None:
    tree = {"a": [Command(("set -e;", "run")), {"b": Note(1, "Why.")}, Note(Command(("go",)), "How.")]}
    assert render(tree, "").splitlines() == [
        "a:",
        "  - >-",
        "    set -e;",
        "    run",
        "  # Why.",
        "  - b: 1",
        "  # How.",
        "  - >-",
        "    go",
    ]
    assert yaml.safe_load(render(tree, "")) == plain(tree)

"""Stop strings across a cut, against the plain rule: whatever the cut and the pieces, the same text comes out."""

from hypothesis import given
from hypothesis import strategies as st

from elastic_deploy.gateway.stops import StopStrings

ALPHABET = st.text("abc", max_size=14)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


def undisturbed(text: str, stops: list[str], shown: bool, start: int) -> tuple[str, str, str | None]:
    """What is sent before the character `start` comes, what is sent in all, the stop string.

    None stops before `start`, as the engine that broke there had not stopped.
    """
    hidden = 0 if shown else max((len(stop) for stop in stops), default=1) - 1
    before = text[: max(0, start - hidden)]
    for end in range(start + 1, len(text) + 1):
        for stop in stops:
            if text[:end].endswith(stop):
                return before, text[: end if shown else end - len(stop)], stop
    return before, text, None


@given(ALPHABET, STOPS, st.booleans(), st.data())
def test_the_same_text_and_stop_come_out_wherever_the_cut(
    text: str, stops: list[str], shown: bool, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(text)))
    if any(stop in text[:cut] for stop in stops):
        return
    sent, whole, stop = undisturbed(text, stops, shown, cut)
    following = StopStrings(stops, shown, sent, text[len(sent) : cut])
    out, found = sent, None
    for index in range(cut, len(text)):
        piece, found = following.feed(text[index], index == len(text) - 1, True)
        out += piece
        if found:
            break
        assert whole.startswith(out)
    if cut == len(text):
        piece, found = following.feed("", True, True)
        out += piece
    # Two that are complete with the same character are told apart by the list's order, which a set of texts is not.
    assert (out, found) == (whole, stop)


def test_nothing_stops_before_there_are_enough_tokens() -> None:
    following = StopStrings(["END"], False, "E", "")
    assert following.feed("ND", False, False) == ("", None)
    assert following.feed(" and END", False, True) == ("ND and ", "END")


def test_several_characters_at_once_stop_at_the_string_that_is_complete_first() -> None:
    assert StopStrings(["cde", "bc"], False, "", "a").feed("bcdef", False, True) == ("a", "bc")

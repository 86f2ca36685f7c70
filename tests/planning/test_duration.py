"""Durations as they are written and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_deploy.model.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), (" 1D ", 86400), ("0.5s", 0.5)]
)
def test_written_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_none_is_no_limit_where_it_is_allowed() -> None:
    assert parse_duration("none", none_allowed=True) is None
    with pytest.raises(ValueError, match="'none' is no duration"):
        parse_duration("none")


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 minutes", "1h30m", "0", "0s", "inf", "nan", "1e3", "9" * 400])
def test_what_is_no_duration_is_told_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"write seconds as 90 or 90s, minutes as 30m, hours as 2h$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "none"),
        (0.04, "0s"),
        (2.51, "2.5s"),
        (9.98, "10s"),
        (47.4, "47s"),
        (90, "1m 30s"),
        (1800, "30m"),
        (7384, "2h 3m"),
        (90000, "1d 1h"),
    ],
)
def test_read_durations(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(1, 10**6))
def test_a_duration_reads_as_no_more_than_two_units(seconds: int) -> None:
    assert 1 <= len(format_duration(seconds).split()) <= 2

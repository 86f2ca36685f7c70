"""The pauses between starts of an engine that fails."""

from elastic_deploy.core.backoff import pause


def test_pauses_double_up_to_a_minute() -> None:
    assert [pause(failures) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_very_long_row_of_failures_waits_no_longer() -> None:
    assert pause(10_000) == 60

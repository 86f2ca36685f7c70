"""The front door's settings: what flags and the file make of each other, what is refused, how a difference reads."""

import math

import pytest

from elastic_deploy.model.errors import InvalidConfigError, UsageError
from elastic_deploy.model.front_door import FrontDoorBounds, FrontDoorOptions, FrontDoorWish, front_door_difference
from elastic_deploy.planning.request import merge
from elastic_deploy.planning.settings import Settings

WANTED = Settings(model="tiny", gpus=1)
NOTHING = Settings()


def test_a_flag_beats_the_files_bound_and_leaves_the_others() -> None:
    file = Settings(gateway=FrontDoorBounds(hold_timeout=60.0, hold_requests=5))
    flags = Settings(model="tiny", gpus=1, gateway=FrontDoorBounds(hold_timeout=0.0))
    assert merge(file, flags).bounds == FrontDoorBounds(hold_timeout=0.0, hold_requests=5)
    assert merge(file, WANTED).bounds == file.gateway
    assert merge(NOTHING, WANTED).bounds == FrontDoorBounds()


def test_the_flags_pair_beats_the_files() -> None:
    file = Settings(tls_cert="a.pem", tls_key="a.key")
    flags = Settings(model="tiny", gpus=1, tls_cert="b.pem", tls_key="b.key")
    assert (merge(file, flags).tls_cert, merge(file, flags).tls_key) == ("b.pem", "b.key")
    assert (merge(file, WANTED).tls_cert, merge(file, WANTED).tls_key) == ("a.pem", "a.key")
    assert (merge(NOTHING, WANTED).tls_cert, merge(NOTHING, WANTED).tls_key) == (None, None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Settings(tls_cert="a.pem"), "--tls-cert needs --tls-key beside it."),
        (Settings(tls_key="a.pem"), "--tls-key needs --tls-cert beside it."),
        (Settings(tls_cert="", tls_key="k"), "--tls-cert must be a file, not ''."),
        (Settings(gateway=FrontDoorBounds(hold_timeout=math.inf)), "--hold-timeout must have an end: a duration, or 0"),
    ],
)
def test_a_wrong_flag_is_a_usage_error_even_where_the_file_would_complete_it(said: Settings, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        merge(Settings(model="tiny", gpus=1, tls_cert="b.pem", tls_key="b.key"), said)


def test_a_wrong_bound_of_the_file_is_an_invalid_one() -> None:
    with pytest.raises(InvalidConfigError, match=r"metadata\.elastic_deploy\.gateway\.hold_bytes must be"):
        merge(Settings(gateway=FrontDoorBounds(hold_bytes=-1)), WANTED)


def test_a_difference_has_a_line_for_each_change_and_none_for_none() -> None:
    old = FrontDoorWish(8000, FrontDoorOptions(bounds=FrontDoorBounds(hold_timeout=60.0)))
    new = FrontDoorWish(9000, FrontDoorOptions(certificate="f", bounds=FrontDoorBounds(max_connections=5)))
    assert front_door_difference(old, old) == []
    assert front_door_difference(old, new) == [
        "port: 8000 -> 9000",
        "scheme: http -> https",
        "hold_timeout: 1m -> (default)",
        "max_connections: (default) -> 5",
    ]
    renewed = FrontDoorWish(9000, FrontDoorOptions(certificate="g", bounds=FrontDoorBounds(max_connections=5)))
    assert front_door_difference(new, renewed) == ["certificate: another one, taken up without a restart"]

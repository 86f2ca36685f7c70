"""What a node lacks of what our package needs, by its own metadata."""

from importlib.metadata import requires, version

import pytest

from elastic_deploy.runtime.requirements import main, missing

INSTALLED = {"aiohttp": "3.14.1", "ray": "2.60.0", "click": "8.0", "rc": "2.0rc1"}


@pytest.mark.parametrize(
    ("lines", "lacking"),
    [
        ([], []),
        (["aiohttp>=3.12", "ray[default]>=2.60"], []),
        (["click>=8.1"], ["click>=8.1"]),
        (["psutil>=6", "aiohttp"], ["psutil>=6"]),
        (["rc>=1"], []),
        (['moto>=5; extra == "dev"', 'winonly; sys_platform == "win32"'], []),
        (['nothere; python_version >= "3"'], ["nothere"]),
    ],
)
def test_a_requirement_is_missing_or_met(lines: list[str], lacking: list[str]) -> None:
    assert missing(lines, INSTALLED.get) == lacking


def test_here_nothing_is_missing() -> None:
    assert missing(requires("elastic-deploy") or (), version) == []
    assert main() == 0

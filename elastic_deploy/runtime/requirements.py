"""`python -m elastic_deploy.runtime.requirements`: whether this machine has what our package needs, and what it lacks.

Run on a node right after our wheel was installed there without its dependencies: those come with Ray, and only where
one is missing a registry has to be asked.
"""

import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement


def missing(lines: Iterable[str], installed: Callable[[str], str | None]) -> list[str]:
    """Those of the requirements, as a package's metadata lists them, that what is installed does not meet.

    What an extra alone asks for is not asked of a node. `installed` says a package's version, None where it is not
    there.
    """
    wanted = [Requirement(line) for line in lines]
    asked = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    found = [(each, installed(each.name)) for each in asked]
    return [
        f"{each.name}{each.specifier}"
        for each, at in found
        if at is None or not each.specifier.contains(at, prereleases=True)
    ]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> int:
    """Say on stderr what is missing; the exit status is 0 where nothing is."""
    lacking = missing(requires("elastic-deploy") or (), _installed)
    if lacking:
        print(f"Not installed on this node, or too old: {', '.join(lacking)}.", file=sys.stderr)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())

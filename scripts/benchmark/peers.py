"""Others' software that ours is compared with, each in an environment of its own, made when it is first asked for.

Called by scripts/bench-doors. The environments lie in the user's cache directory, outside of the tree, and are used
again by the next run; a changed version is another environment.
"""

import os
import shutil
import site
import sys
from pathlib import Path

from scripts.benchmark.cluster import lines

VERSIONS = {"smg": "1.13.0", "vllm-router": "0.1.17"}
SERVE = ("ray[serve]==2.60.0", "pyarrow")
"""What Ray Serve LLM needs beside Ray and vLLM. Ray's own extra `llm` would bring another vLLM, for GPUs."""

INSTALL_LIMIT = 900.0


def routers() -> Path:
    """The directory with the commands `smg` and `vllm-router`."""
    return _environment(tuple(f"{name}=={number}" for name, number in VERSIONS.items()), beneath=None) / "bin"


def ray_serve() -> Path:
    """The directory with the `python` and `ray` of Ray Serve LLM: our own environment, and what it lacks."""
    binaries = _environment(SERVE, beneath=Path(site.getsitepackages()[0])) / "bin"
    ray = binaries / "ray"
    if not ray.exists():  # pip makes a package's commands where it installs the package, and Ray lies beneath
        ray.write_text(f"#!{binaries / 'python'}\nimport sys\nfrom ray.scripts.scripts import main\nsys.exit(main())\n")
        ray.chmod(0o755)
    return binaries


def _environment(requirements: tuple[str, ...], beneath: Path | None) -> Path:
    """An environment with the packages; those in the directory `beneath` can be imported in it as well."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = "-".join(requirements).replace("==", "-").replace("[", "-").replace("]", "")
    directory = cache / "elastic-deploy" / "bench" / name
    finished = directory / "finished"
    if finished.exists() and finished.read_text() == str(beneath):
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    lines([sys.executable, "-m", "venv", *(["--without-pip"] if beneath else []), str(directory)], INSTALL_LIMIT)
    if beneath:
        packages = next(directory.glob("lib/python*/site-packages"))
        # As a statement, so that the editable installs in that directory are found too.
        (packages / "beneath.pth").write_text(f"import site; site.addsitedir({str(beneath)!r})\n")
    install = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements]
    lines(install, INSTALL_LIMIT)
    finished.write_text(str(beneath))
    return directory

"""Our own package as a wheel, made from what is installed here: what a cluster's nodes get, without any registry.

A wheel is a zip of a package and of what its installer wrote about it (the "Binary distribution format" of the Python
packaging guide), so nothing has to be built, and an editable installation will do. The same files make the same bytes:
Ray compares what it carries to the nodes by content.
"""

import base64
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import elastic_deploy
from elastic_deploy.model.home import home, private_dir

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""
_WHEEL = "Wheel-Version: 1.0\nGenerator: elastic-deploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DESCRIBED_BY = ("METADATA", "entry_points.txt")


def wheel_name(version: str) -> str:
    """The file name of our wheel at a version."""
    return f"elastic_deploy-{version}-py3-none-any.whl"


def own_wheel() -> Path:
    """The wheel of what runs here, in `~/.elastic-deploy/packages`; it is written only where it is not there already.

    Raises OSError where it cannot be written.
    """
    installed = distribution("elastic-deploy")
    data = wheel_of(Path(elastic_deploy.__file__).parent, installed)
    path = private_dir(home() / "packages") / wheel_name(installed.version)
    if not path.is_file() or path.read_bytes() != data:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(data)
        draft.replace(path)
    return path


def wheel_of(package: Path, installed: Distribution) -> bytes:
    """The wheel of the package that lies in the directory `package`, described as `installed` is."""
    about = f"elastic_deploy-{installed.version}.dist-info"
    files = [(f"{package.name}/{name}", content) for name, content in _files(package)]
    for name in _DESCRIBED_BY:
        text = installed.read_text(name)
        if text is not None:
            files.append((f"{about}/{name}", text.encode()))
    files.append((f"{about}/WHEEL", _WHEEL.encode()))
    record = [f"{name},{_digest(content)},{len(content)}" for name, content in files]
    files.append((f"{about}/RECORD", "\n".join([*record, f"{about}/RECORD,,", ""]).encode()))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as wheel:
        for name, content in files:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)
    return archive.getvalue()


def _files(package: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(package.rglob("*")):
        within = path.relative_to(package)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in within.parts)
        if path.is_file() and not hidden:
            yield within.as_posix(), path.read_bytes()


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"

"""Our own wheel, made from what is installed here: pip takes it, and what it installs is what runs here."""

import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

import elastic_deploy
from elastic_deploy.cluster.own_wheel import own_wheel, wheel_of

PACKAGE = Path(elastic_deploy.__file__).parent


def test_pip_installs_it_without_a_registry_and_it_is_the_same_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTIC_DEPLOY_HOME", str(tmp_path / "home"))
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(own_wheel())], check=True, timeout=120)
    ours = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    theirs = target / "elastic_deploy"
    assert {path.relative_to(theirs) for path in theirs.rglob("*.py")} == ours
    assert (theirs / "rehearsal" / "tiny" / "model.safetensors").read_bytes() == (
        PACKAGE / "rehearsal" / "tiny" / "model.safetensors"
    ).read_bytes()
    code = (
        "import elastic_deploy.cli.main, elastic_deploy as e; from importlib.metadata import distribution;"
        " d = distribution('elastic-deploy'); print(e.__file__, d.version, *(p.name for p in d.entry_points))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": str(target)},
    ).stdout.split()
    assert said[0].startswith(str(target))
    plugins = ["elastic_deploy_stages", "elastic_deploy_rehearsal"]
    assert said[1:3] == [distribution("elastic-deploy").version, "elastic-deploy"]
    assert sorted(said[3:]) == sorted(plugins), "what vLLM finds on the nodes"


def test_the_same_files_make_the_same_bytes_and_nothing_of_this_machine_is_in_them(tmp_path: Path) -> None:
    package = tmp_path / "elastic_deploy"
    for name in ("b.py", "a/x.py", "__pycache__/b.pyc", ".cache/secret"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    installed = distribution("elastic-deploy")
    first = wheel_of(package, installed)
    (package / "b.py").touch()
    assert wheel_of(package, installed) == first
    (tmp_path / "w.whl").write_bytes(first)
    names = zipfile.ZipFile(tmp_path / "w.whl").namelist()
    assert names[:2] == ["elastic_deploy/a/x.py", "elastic_deploy/b.py"]
    assert {name.rpartition("/")[2] for name in names[2:]} == {"METADATA", "entry_points.txt", "WHEEL", "RECORD"}
    (package / "b.py").write_text("other")
    assert wheel_of(package, installed) != first


def test_it_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTIC_DEPLOY_HOME", str(tmp_path))

    def written() -> tuple[int, int]:
        found = own_wheel().stat()  # reading it changes only when it was read
        return found.st_ino, found.st_mtime_ns

    before, size = written(), own_wheel().stat().st_size
    assert written() == before
    own_wheel().write_bytes(b"half of it")
    assert own_wheel().stat().st_size == size
    assert [path.name for path in (tmp_path / "packages").iterdir()] == [own_wheel().name]

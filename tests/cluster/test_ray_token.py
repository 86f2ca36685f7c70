"""The Ray token of a cluster: made where its YAML mounts one, once, for nobody else to read."""

from pathlib import Path

import pytest
import yaml

from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.cluster.ray_token import lacks_token, make_token, mounts_token, token_path

TEMPLATE = Path(__file__).parents[2] / "cluster-templates" / "aws-small.yaml"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterConfig:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ELASTIC_DEPLOY_HOME", raising=False)
    return load_cluster(TEMPLATE)


def test_a_generated_cluster_gets_one_and_keeps_it(config: ClusterConfig) -> None:
    assert lacks_token(config)
    assert make_token(config)
    path = token_path("aws-small")
    token = path.read_text()
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert not lacks_token(config)
    assert not make_token(config)
    assert path.read_text() == token


def test_a_cluster_that_mounts_none_gets_none(config: ClusterConfig, tmp_path: Path) -> None:
    assert mounts_token(config)
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump({**config.raw, "file_mounts": {"~/token": "~/.elastic-deploy/else/ray-token"}}))
    other = load_cluster(path)
    assert not mounts_token(other)
    assert not make_token(other)
    assert not token_path("aws-small").exists()

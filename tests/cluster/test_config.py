"""Cluster YAMLs, good and bad: what is read, and the sentence for each way in which one can be wrong."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_deploy.cluster.config import ClusterConfig, load_cluster
from elastic_deploy.model.errors import ExitCode, InvalidConfigError
from elastic_deploy.model.shape import NodeType
from elastic_deploy.planning.settings import Settings

TEMPLATE = Path(__file__).parents[2] / "cluster-templates" / "local.yaml"
GONE = object()


def changed(changes: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The local template, small, with the values at dotted keys changed or, where GONE, taken out."""
    config = copy.deepcopy(base if base is not None else small())
    for dotted, value in changes.items():
        *above, last = dotted.split(".")
        place = config
        for key in above:
            place = place[key]
        if value is GONE:
            del place[last]
        else:
            place[last] = value
    return config


def small() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())
    config["available_node_types"] = {
        "head": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 4},
    }
    return config


AWS: dict[str, Any] = {
    "cluster_name": "lab",
    "provider": {"type": "aws", "region": "us-west-2"},
    "available_node_types": {
        "head": {"node_config": {"InstanceType": "m5.large"}, "resources": {}},
        "a10g": {"node_config": {"InstanceType": "g5.12xlarge"}},
    },
    "head_node_type": "head",
}


def load(tmp_path: Path, config: dict[str, Any] | str | bytes) -> ClusterConfig:
    path = tmp_path / "cluster.yaml"
    if isinstance(config, dict):
        config = yaml.safe_dump(config, sort_keys=False)
    path.write_bytes(config if isinstance(config, bytes) else config.encode())
    return load_cluster(path)


def refusal(tmp_path: Path, config: dict[str, Any] | str | bytes) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        load(tmp_path, config)
    assert refused.value.code == ExitCode.INVALID_CONFIG
    message = str(refused.value)
    assert message.startswith(str(tmp_path / "cluster.yaml"))
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path}/")


def test_the_local_template_is_read_as_ray_reads_it() -> None:
    config = load_cluster(TEMPLATE)
    assert config.raw == yaml.safe_load(TEMPLATE.read_text())
    assert (config.name, config.provider_type, config.provider_kind) == ("elastic-local", "external", "local")
    workers = [each for each in config.capacity.node_types if not each.is_head]
    assert any(each.gpus == 1 and each.max_workers >= 4 for each in workers)
    assert config.capacity.max_workers >= 4


def test_what_ray_fills_in_is_filled_in(tmp_path: Path) -> None:
    config = load(tmp_path, changed({"available_node_types.gpu": {"resources": {"GPU": 2}, "node_config": {}}}))
    head, gpu = config.capacity.node_types
    assert (head.is_head, head.max_workers) == (True, 0)
    assert gpu == NodeType("gpu", {"GPU": 2}, 0, 4)
    assert config.settings == Settings()


def test_an_aws_type_without_resources_gets_the_gpus_of_its_instance_type(tmp_path: Path) -> None:
    config = load(tmp_path, AWS)
    assert config.provider_kind == "aws"
    assert config.capacity.max_workers == 2
    head, worker = config.capacity.node_types
    assert (head.gpus, head.gpus_unknown, head.detected) == (0, False, ("CPU",))
    assert (worker.gpus, worker.gpu_memory_bytes) == (4, 22888 * 2**20)
    assert worker.detected == ("CPU", "memory", "accelerator_type")


def test_resources_that_are_written_beat_those_of_the_instance_type(tmp_path: Path) -> None:
    config = load(tmp_path, changed({"available_node_types.a10g.resources": {"GPU": 2}}, AWS))
    assert config.capacity.node_types[1].gpus == 2


def test_an_instance_type_that_nobody_knows_may_have_gpus(tmp_path: Path) -> None:
    config = load(tmp_path, changed({"available_node_types.a10g.node_config": {"InstanceType": "p9.48xlarge"}}, AWS))
    assert config.capacity.node_types[1].gpus_unknown


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_path_that_is_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidConfigError, match=r"does not exist: name a|is a directory, not a file"):
        load_cluster(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.symlink_to(path)
    with pytest.raises(InvalidConfigError, match=r"loop\.yaml (cannot be read|does not exist)"):
        load_cluster(path)
    with pytest.raises(InvalidConfigError, match="is not a regular file"):
        load_cluster(Path("/dev/null"))


FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "cluster.yaml is empty"),
    "comments alone": ("# nothing\n", "cluster.yaml is empty"),
    "broken": ("a: [1,\nb: 2", "line 2, column 5 is no valid YAML: while parsing a flow sequence, expected ',' or ']'"),
    "tab": ("a:\n\tb: 1", "line 2, column 1 is no valid YAML"),
    "a list": ("- a", "its top level is a list, not a mapping"),
    "a word": ("hello", "its top level is a single value, not a mapping"),
    "not UTF-8": (b"# ok\na: \xe9\n", "line 2: byte 0xe9 is not UTF-8. Save the file as UTF-8."),
    "binary": (b"a: 1\nb: \x07\n", "line 2 is no valid YAML: the character '\\x07' may not stand in it"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2, column 1 is no valid YAML: expected a single document"),
    "a key twice": ("a: {x: 1}\nb:\n  c: 1\n  c: 2\n", "line 4, column 3: the key 'c' stands twice, first in line 3"),
    "a Python object": ("a: !!python/name:os.system\n", "line 1, column 4 is no valid YAML: could not determine"),
    "a date": ("cluster_name: 2024-01-01\n", "line 1, cluster_name: is read as a date, not as text. Put the value in"),
    "no such date": ("a: 2024-13-45\n", "a value cannot be read (month must be in 1..12). Put it in quotes."),
    "a number as key": ("a: {1: 2}\n", "line 1, a: the key 1 is not text. Put the key in quotes."),
    "endless": ("a: &x [*x]\n", "line 1, a[0]: contains itself through an alias."),
    "too deep": ("a: " + "[" * 5000, "its values are nested too deeply to be read."),
}


@pytest.mark.parametrize(("content", "sentence"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_cluster_yaml(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    assert sentence in refusal(tmp_path, content)


def test_many_aliases_are_read_in_no_time(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert "line 1, " in refusal(tmp_path, "\n".join(lines))


VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"max_worker": 3}, "max_worker: unknown key. Did you mean max_workers?"),
    "our settings at the top": ({"elastic_deploy": {}}, "elastic_deploy: unknown key. Our settings stand under `metad"),
    "unknown key of a type": (
        {"available_node_types.gpu.max_worker": 1},
        "available_node_types.gpu.max_worker: unknown key. Did you mean max_workers?",
    ),
    "no name": ({"cluster_name": GONE}, "line 1, the top level: cluster_name is missing. Write `cluster_name:"),
    "a number for a name": ({"cluster_name": 12}, "line 1, cluster_name: must be text, not 12. Put it in quotes."),
    "a path for a name": ({"cluster_name": "../../etc"}, "cluster_name: '../../etc' cannot be a directory's name."),
    "dots for a name": ({"cluster_name": ".."}, "cluster_name: '..' cannot be a directory's name."),
    "an endless name": ({"cluster_name": "x" * 64}, "cannot be a directory's name. Use 1 to 63 letters"),
    "a name of two lines": ({"cluster_name": "a\n"}, "cannot be a directory's name"),
    "no provider": ({"provider": GONE}, "the top level: provider is missing. Write `provider: {type: aws"),
    "no provider type": ({"provider": {}}, "provider: type is missing."),
    "no such provider": ({"provider.type": "ays"}, "provider.type: 'ays' is no provider that can launch nodes from"),
    "Ray's local provider": ({"provider": {"type": "local"}}, "provider.type: local is Ray's own provider for mach"),
    "external without a module": ({"provider.module": GONE}, "provider: module is missing."),
    "external without commands": ({"setup_commands": GONE}, "setup_commands: is missing, and Ray has no default for"),
    "half of docker": ({"docker": {"image": "x"}}, "docker: Ray needs an image and a container_name, or neither."),
    "no types": ({"available_node_types": GONE}, "available_node_types: there are no node types."),
    "empty types": ({"available_node_types": {}}, "available_node_types: there are no node types."),
    "a list of types": ({"available_node_types": []}, "available_node_types: must be a mapping (key: value), not a li"),
    "a type without resources": (
        {"available_node_types.gpu": {"node_config": {}}},
        "available_node_types.gpu: resources is missing. Write what one such node has, such as `resources: {CPU: 8,",
    ),
    "no head": ({"head_node_type": GONE}, "head_node_type: is missing. Name one of head, gpu."),
    "a head that is not there": (
        {"head_node_type": "haed"},
        "head_node_type: names 'haed', which is no node type here. Name one of head, gpu.",
    ),
    "no GPUs at all": (
        {"available_node_types.gpu.resources": {"CPU": 4}},
        "available_node_types: no node type has GPUs (head, gpu). Give one `resources: {GPU: n}` with n of 1 or more.",
    ),
    "gpu in small letters": (
        {"available_node_types.gpu.resources": {"gpu": 4}},
        "available_node_types.gpu.resources.gpu: is no resource that Ray knows. Call it GPU, in capitals.",
    ),
    "a word for GPUs": (
        {"available_node_types.gpu.resources.GPU": "two"},
        "available_node_types.gpu.resources.GPU: must be a whole number, not 'two'.",
    ),
    "GPUs in quotes": ({"available_node_types.gpu.resources.GPU": "2"}, "not '2'. Write it without quotes."),
    "yes for GPUs": ({"available_node_types.gpu.resources.GPU": True}, "must be a whole number, not True."),
    "half a GPU": ({"available_node_types.gpu.resources.GPU": 0.5}, "resources.GPU: must be a whole number, not 0.5."),
    "less than no GPU": ({"available_node_types.gpu.resources.GPU": -1}, "resources.GPU: must be 0 or more, not -1."),
    "GPU without a number": ({"available_node_types.gpu.resources.GPU": None}, "has no value, and must be a whole num"),
    "a word for max_workers": ({"max_workers": "four"}, "max_workers: must be a whole number, not 'four'."),
    "negative max_workers": ({"max_workers": -1}, "max_workers: must be 0 or more, not -1."),
    "no max_workers": ({"max_workers": GONE}, "max_workers: is missing, and Ray has no default for it here."),
    "a type's negative max_workers": (
        {"available_node_types.gpu.max_workers": -1},
        "available_node_types.gpu.max_workers: must be 0 or more, not -1.",
    ),
    "min over max": (
        {"available_node_types.gpu.min_workers": 5},
        "available_node_types.gpu.min_workers: is 5, more than its max_workers, which is 4. Lower it, or raise",
    ),
    "all mins over max": (
        {"available_node_types.gpu.min_workers": 3, "max_workers": 2},
        "max_workers: is 2, less than the min_workers of all node types together (3). Raise it to 3 or lower some",
    ),
    "metadata that is no mapping": ({"metadata": 3}, "metadata: must be a mapping (key: value), not 3."),
}


@pytest.mark.parametrize(("changes", "sentence"), VALUES.values(), ids=VALUES)
def test_a_value_that_is_wrong(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    message = refusal(tmp_path, changed(changes))
    assert sentence in message
    assert message.startswith("cluster.yaml, line ")
    assert message[-1] in ".?"


def test_the_first_of_several_errors_in_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    text = "cluster_name: x\nmax_workers: four\nprovider: {type: aws}\nnonsense: 1\n"
    assert refusal(tmp_path, text).startswith("cluster.yaml, line 2, max_workers: must be a whole number")


AWS_VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "no region": ({"provider.region": GONE}, "provider: region is missing."),
    "no instance type": (
        {"available_node_types.a10g.node_config": {}},
        "available_node_types.a10g.node_config: InstanceType is missing.",
    ),
    "instances without GPUs": (
        {"available_node_types.a10g.node_config.InstanceType": "c5.large"},
        "available_node_types: no node type has GPUs (head, a10g).",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), AWS_VALUES.values(), ids=AWS_VALUES)
def test_a_value_that_is_wrong_on_aws(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(tmp_path, changed(changes, AWS))

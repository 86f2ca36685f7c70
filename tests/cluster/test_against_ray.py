"""What we read of a cluster YAML against what Ray itself makes of it: nothing passes here that `ray up` would refuse.

Ray is asked through the functions that `ray up` runs before it talks to a provider.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.autoscaler._private.providers import _NODE_PROVIDERS
from ray.autoscaler._private.util import prepare_config, validate_config

from elastic_deploy.cluster.config import _PROVIDERS, load_cluster
from elastic_deploy.cluster.config_schema import ray_defaults
from elastic_deploy.model.errors import InvalidConfigError

TEMPLATE: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "cluster-templates" / "local.yaml").read_text(encoding="utf-8")
)
# Copied: a second damage may be done to what the first one put there.
JUNK = st.sampled_from([None, True, -1, 0, 1, 7, 1.5, "", "gpu", "1", [], [1], ["x"], {}, {"GPU": 1}, {"x": "y"}]).map(
    copy.deepcopy
)


def paths(value: object, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [above] if above else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths(item, (*above, key))
    return found


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """The local template with one or two values taken out, replaced or added."""
    config = copy.deepcopy(TEMPLATE)
    for _ in range(draw(st.integers(1, 2))):
        *above, last = draw(st.sampled_from(paths(config)))
        place: Any = config
        for key in above:
            place = place[key]
        change = draw(st.sampled_from(["remove", "replace", "add"]))
        if change == "remove":
            del place[last]
        elif change == "replace":
            place[last] = draw(JUNK)
        else:
            place[draw(st.sampled_from(["max_workers", "resource", "labels", "docker", "extra"]))] = draw(JUNK)
    return config


def as_ray_reads_it(config: dict[str, Any]) -> dict[str, Any] | None:
    """The configuration that Ray would launch, or None where it refuses."""
    try:
        prepared = prepare_config(copy.deepcopy(config))
        validate_config(prepared)
    except (Exception, SystemExit):  # noqa: BLE001  # Ray refuses with whatever its code runs into
        return None
    return dict(prepared)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=damaged())
def test_what_passes_here_passes_ray_with_the_same_limits(tmp_path: Path, config: dict[str, Any]) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    rays = as_ray_reads_it(config)
    if rays is None:
        with pytest.raises(InvalidConfigError, match=r"cluster\.yaml, line \d+, "):
            load_cluster(path)
        return
    try:
        ours = load_cluster(path)
    except InvalidConfigError:
        # Ray takes more than we do: clusters without GPUs, and names that are no directory's.
        return
    assert ours.capacity.max_workers == rays["max_workers"]
    for each in ours.capacity.node_types:
        theirs = rays["available_node_types"][each.name]
        assert (each.min_workers, each.max_workers) == (theirs["min_workers"], theirs["max_workers"])
        assert each.resources == theirs["resources"]
        assert each.is_head == (each.name == rays["head_node_type"])


@pytest.mark.parametrize("provider", [each for each in _PROVIDERS if each != "external"])
def test_ray_has_the_providers_and_defaults_that_we_name(provider: str) -> None:
    assert provider in _NODE_PROVIDERS
    assert ray_defaults(provider)["max_workers"] >= 2


def test_ray_has_no_defaults_for_what_it_does_not_know() -> None:
    assert ray_defaults("external") == ray_defaults("nonsense") == ray_defaults("../aws") == {}

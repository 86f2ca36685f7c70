"""What `ray up` would refuse, refused before it runs and in a better sentence.

Ray's own JSON schema decides which keys there are and what they hold; this module finds it without importing Ray
(over a second) and words its errors. Called by `cluster.config`; what the schema cannot say is checked in
`cluster.capacity`.
"""

import copy
import difflib
import json
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from elastic_deploy.cluster.yaml_source import Keys, Source

_WORDS = {
    "object": "a mapping (key: value)",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}
_MISSING = {
    "cluster_name": "Write `cluster_name: my-cluster`",
    "provider": "Write `provider: {type: aws, region: ...}`, or take the block from one of the cluster-templates",
    "type": "Write the provider's type, such as `type: aws`",
    "resources": "Write what one such node has, such as `resources: {CPU: 8, GPU: 1}`",
    "node_config": "Write the provider's own settings of such a node, or `node_config: {}`",
    "ssh_proxy_command": "Write it, or leave ssh_proxy_use_node_id out",
}
_MISPLACED = {
    "elastic_deploy": "Our settings stand under `metadata: {elastic_deploy: {...}}`, which Ray leaves alone",
    "min_workers": "Write it under a node type: available_node_types.TYPE.min_workers",
    "initial_workers": "Ray has dropped it; write available_node_types.TYPE.min_workers",
    "head_node": "Ray has dropped it; describe the head under available_node_types and name it in head_node_type",
    "worker_nodes": "Ray has dropped it; describe workers under available_node_types",
    "target_utilization_fraction": "Ray has dropped it; remove it",
    "autoscaling_mode": "Ray has dropped it; write upscaling_speed",
}


@cache
def autoscaler_files() -> Path:
    """The directory in the installed Ray that holds the autoscaler's schema and defaults."""
    spec = find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("ray is not installed, and elastic-deploy cannot work without it")
    return Path(spec.submodule_search_locations[0]) / "autoscaler"


def ray_defaults(provider_type: str) -> dict[str, Any]:
    """What Ray fills in at the top level for this provider where the user writes nothing; empty if it has none.

    Source: `autoscaler/<provider>/defaults.yaml` of the installed Ray. For external providers Ray knows no defaults.
    """
    path = autoscaler_files() / provider_type / "defaults.yaml"
    if not provider_type.isalnum() or not path.is_file():
        return {}
    defaults: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return defaults


def check_schema(source: Source) -> None:
    """Raise InvalidConfigError for the first place in `source` that Ray's schema refuses."""
    schema = json.loads((autoscaler_files() / "ray-schema.json").read_text(encoding="utf-8"))
    provider = source.raw.get("provider")
    if isinstance(provider, dict) and provider.get("type") == "aws":
        # Ray asks EC2 for the resources of a type that names none, and only then validates.
        schema = copy.deepcopy(schema)
        schema["properties"]["available_node_types"]["patternProperties"][".*"]["required"].remove("resources")
    found = [_worded(error) for error in jsonschema.Draft7Validator(schema).iter_errors(source.raw)]
    if found:
        keys, reason, mend = min(found, key=lambda each: source.place(each[0]))
        raise source.error(keys, reason, mend)


def unknown_key(key: str, known: Iterable[str]) -> tuple[str, str]:
    """Reason and mend for a key that is not among `known`."""
    known = sorted(known)
    close = difflib.get_close_matches(key.replace("-", "_").lower(), known, n=1, cutoff=0.6)
    return "unknown key", f"Did you mean {close[0]}?" if close else f"What may stand here is {', '.join(known)}"


def kind_error(value: object, *kinds: str) -> tuple[str, str]:
    """Reason and mend for a value that is of none of the JSON Schema types `kinds`."""
    wanted = " or ".join(_WORDS.get(kind, kind) for kind in kinds)
    if value is None:
        return f"has no value, and must be {wanted}", "Write one, or remove the key"
    shown = (
        repr(value) if not isinstance(value, (dict, list)) else _WORDS["object" if isinstance(value, dict) else "array"]
    )
    mend = f"Write {wanted}"
    if kinds == ("string",) and not isinstance(value, (dict, list)):
        mend = "Put it in quotes"
    elif isinstance(value, str) and value.isdecimal():
        mend = "Write it without quotes"
    return f"must be {wanted}, not {shown}", mend


def _worded(error: Any) -> tuple[Keys, str, str]:
    """Place, reason and mend of one of jsonschema's errors."""
    keys = list(error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(key for key in error.instance if key not in known)
        reason, mend = unknown_key(unknown, known)
        return [*keys, unknown], reason, _MISPLACED.get(unknown, mend) if not keys else mend
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return keys, f"{missing} is missing", _MISSING.get(missing, f"Write {missing} there")
    if error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        return keys, *kind_error(error.instance, *kinds)
    if error.validator == "minimum":
        return keys, f"must be {error.validator_value} or more, not {error.instance!r}", "Raise it"
    return keys, error.message, "Mend the value"

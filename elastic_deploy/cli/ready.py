"""What `up` prints when a deployment serves: where it is, where its key lies, and a request to try. Pure."""

import json
import shlex
from typing import Any


def ready_lines(cluster: str, deployment: dict[str, Any]) -> list[str]:
    """The lines for stdout. The request reads the key from its file, so that it stands in no history."""
    endpoint, key_file = deployment["endpoint"], deployment["api_key_file"]
    body = json.dumps({"model": deployment["model"], "messages": [{"role": "user", "content": "Hello!"}]})
    return [
        f"{deployment['name']} is {deployment['phase']} on cluster {cluster}.",
        f"  endpoint  {endpoint}",
        f"  model     {deployment['model']}",
        f"  key file  {key_file}",
        "Try it:",
        f"  curl {endpoint}/chat/completions -H 'Content-Type: application/json' \\",
        f'    -H "Authorization: Bearer $(cat {shlex.quote(key_file)})" -d {shlex.quote(body)}',
    ]

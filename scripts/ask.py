"""Ask the first deployment of a status document (stdin) a question (argument), and print the model's answer."""

import json
import sys
import urllib.request
from pathlib import Path


def main() -> None:
    """One chat completion."""
    deployment = json.load(sys.stdin)["deployments"][0]
    body = {
        "model": deployment["model"],
        "messages": [{"role": "user", "content": sys.argv[1]}],
        "max_tokens": 48,
        "temperature": 0,
    }
    key = Path(deployment["api_key_file"]).read_text().strip()
    request = urllib.request.Request(
        f"{deployment['endpoint']}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        print(json.load(answer)["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main()

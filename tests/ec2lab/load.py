"""A steady load from the laptop: `python -m tests.ec2lab.load BASE_URL KEY_FILE OVER`, until the file OVER is there.

Prints one JSON object a request when all have ended. The clients are those of `scripts/benchmark/streams.py`.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from scripts.benchmark.streams import Streams
from scripts.benchmark.trickle import Endpoint

LIMIT = 900.0


def main() -> None:
    """Ask until told that it is over."""
    base, key_file, over = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    endpoint = Endpoint(base, "tiny", key_file.read_text().strip())
    until = time.monotonic() + LIMIT
    # Two clients with long pauses: the CPU engine spins on every core as long as it generates, and a node and an
    # engine that start beside it have two cores in all.
    with Streams(endpoint, 2, tokens=48, pause_s=4.0) as streams:
        while not over.exists() and time.monotonic() < until:
            time.sleep(0.2)
        for each in streams.finish():
            print(json.dumps(asdict(each)))


if __name__ == "__main__":
    main()

"""A program that speaks the agent's protocol from a script, in place of the agent on a head.

`agent_stand_in.py DIRECTORY COMMAND`: the verb is the command's last word. DIRECTORY/script.json holds, for each verb,
a list of answers for its first, second, ... call; the last one repeats. An answer is a list of steps: a protocol line
to print, or {"sleep": s}, {"raw": text}, {"stderr": text}, {"exit": status}. Every call is recorded in
DIRECTORY/calls.jsonl.
"""

import json
import sys
import time
from pathlib import Path


def main() -> int:
    """Answer one call."""
    directory, verb = Path(sys.argv[1]), sys.argv[2].split()[-1]
    payload = json.loads(sys.stdin.read() or "{}")
    calls = directory / "calls.jsonl"
    before = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
    with calls.open("a") as file:
        file.write(json.dumps({"verb": verb, "payload": payload}) + "\n")
    answers = json.loads((directory / "script.json").read_text())[verb]
    turn = sum(call["verb"] == verb for call in before)
    for step in answers[min(turn, len(answers) - 1)]:
        if "sleep" in step:
            time.sleep(step["sleep"])
        elif "raw" in step:
            print(step["raw"], flush=True)
        elif "stderr" in step:
            print(step["stderr"], file=sys.stderr, flush=True)
        elif "exit" in step:
            return int(step["exit"])
        else:
            print(json.dumps(step), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

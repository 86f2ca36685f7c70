"""The checks of `doctor` on a cluster that runs: `gather` measures in Ray, `judge` makes checks of what was found.

Run on the head by the agent's verb `doctor`. Facts and judgement are made by the same version, and only checks travel.
"""

"""What `generate` writes for every provider: commented YAML, and the commands that make a machine a Ray node.

commented   a tree of values and comments, as YAML
release     the versions that nodes get: the launcher's
node_setup  setup and start commands
local       nodes on this machine
onprem      machines that already run

What is particular to EC2 stands in `cluster.aws`.
"""

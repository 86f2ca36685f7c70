"""Clusters whose nodes are groups of local processes: Ray's head, autoscaler and workers for real, on one machine.

provider, runner        what Ray asks of a cloud: nodes, and commands and files on them (these import Ray)
ray_command, start_hook what `ray start` and `ray stop` do on such a node
nodes                   the life of a node, from launch to nothing left
state                   what is on disk; for `status` and `down` too
environment             the shell and the variables of a node
processes, shared_memory this machine's processes and what they leave
script                  the rehearsal script: slow, scarce, refused and mortal machines
"""

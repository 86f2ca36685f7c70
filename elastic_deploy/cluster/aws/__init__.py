"""Cluster YAMLs for EC2: from what the user asked, and what EC2 answered, to a file that `ray up` takes.

order       what the user asked for, and what contradicts itself in it
account     what EC2 and the account answered (values)
lookup      asks them, through boto3 (the only module here with effects)
instances   instance types with GPUs, for files written offline
choose      from both to decisions: instance type, zones, subnets, pools
node_types  the head and the GPU nodes, as RunInstances takes them
policy      the least rights of the autoscaler's role
steps       what has to exist before the first start, as commands
prices      what a header may say of costs
document    the whole file

And clusters that stand there, or are about to:

session     clients for a cluster's region, and EC2's words for a person
tagged      asks EC2 by tag what it has of a cluster
remains     what that is, in values and in words
ending      ends it, and looks until nothing is found
shared      what outlives a cluster on purpose, and its removal
preflight   what would go wrong, before it costs anything
"""

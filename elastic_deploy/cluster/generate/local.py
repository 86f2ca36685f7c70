"""`generate local`: a cluster of local processes, as in cluster-templates/local.yaml, in the size that was asked. Pure
but for reading the template that is shipped.
"""

from importlib.resources import files

_NAME, _NODES, _GPU_TYPE = "elastic-local", "max_workers: 4", "resources: {CPU: 2, GPU: 1,"


def local_yaml(cluster_name: str, nodes: int, gpus_per_node: int) -> str:
    """The template with another name, number of nodes and number of GPUs on each."""
    text = (files("elastic_deploy.cluster.local") / "template.yaml").read_text(encoding="utf-8")
    # Each GPU's engine process takes a CPU, as the template says.
    gpu_type = f"resources: {{CPU: {gpus_per_node + 1}, GPU: {gpus_per_node},"
    return text.replace(_NAME, cluster_name).replace(_NODES, f"max_workers: {nodes}").replace(_GPU_TYPE, gpu_type)

"""Which machine images the nodes boot from: AWS's deep-learning base image on GPU nodes, Ubuntu's own on the head.

Both are found by public parameters of AWS's Systems Manager, which always name the current image; EC2 resolves
`resolve:ssm:NAME` itself at each launch. Pure.
"""

from elastic_deploy.cluster.aws.choose import Choice

RESOLVE = "resolve:ssm:"
NO_IMAGE = "ami-to-be-named"

_NO_OPEN_DRIVER = ("V100",)
"""GPUs for which NVIDIA has no open kernel driver, and the image therefore none."""


def gpu_parameter(arch: str) -> str:
    """The public parameter with the current deep-learning base image (Ubuntu 24.04, NVIDIA's driver, EFA, NCCL)."""
    return f"/aws/service/deeplearning/ami/{arch}/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"


def head_parameter(arch: str) -> str:
    """The public parameter with the current Ubuntu 24.04."""
    name = "arm64" if arch == "arm64" else "amd64"
    return f"/aws/service/canonical/ubuntu/server/24.04/stable/current/{name}/hvm/ebs-gp3/ami-id"


def gpu_image(choice: Choice) -> str:
    """ImageId of the GPU nodes: the user's, the one looked up, else the parameter."""
    if choice.order.image:
        return choice.order.image
    if choice.instance.gpu in _NO_OPEN_DRIVER:
        return NO_IMAGE
    return choice.account.gpu_image or RESOLVE + gpu_parameter(choice.instance.arch)


def head_image(choice: Choice) -> str:
    """ImageId of the head; the user's image serves both."""
    return choice.order.image or choice.account.head_image or RESOLVE + head_parameter(choice.head.arch)


def image_parameters(choice: Choice) -> list[str]:
    """The parameters that EC2 resolves for the autoscaler at a launch: those of the GPU nodes."""
    image = gpu_image(choice)
    return [image.removeprefix(RESOLVE)] if image.startswith(RESOLVE) else []

"""What EC2 and the user's account answered, as values. Made by `cluster.aws.lookup`, read by everything else here."""

from dataclasses import dataclass

from elastic_deploy.cluster.aws.instances import Instance


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet; `public` if what is launched there gets a public address by itself."""

    id: str
    zone: str
    vpc: str
    public: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Answers; None where nothing was asked, or no answer came (`unanswered` says why).

    `offered_in` are the zones that have the instance type. `subnets` are those that the user named, else those of the
    default VPC. `open_to_world`: the security group lets anybody try SSH.
    `placement_strategy` is empty where there is no such placement group.
    """

    region: str | None = None
    id: str | None = None
    instance: Instance | None = None
    head: Instance | None = None
    offered_in: tuple[str, ...] | None = None
    subnets: tuple[Subnet, ...] | None = None
    security_group: str | None = None
    open_to_world: bool = False
    gpu_image: str | None = None
    head_image: str | None = None
    has_role: bool | None = None
    placement_strategy: str | None = None
    caller: str | None = None
    unanswered: tuple[str, ...] = ()


NOTHING = Account()
"""What is known without credentials."""

"""Each check passes on a sound account, and fails, alone and with its mend, where its fault is planted."""

from dataclasses import replace

import pytest

from elastic_deploy.cluster.aws.preflight import judge
from elastic_deploy.cluster.aws.preflight.facts import (
    Facts,
    FileFact,
    GroupFact,
    Identity,
    ImageFact,
    PlacementFact,
    RightsFact,
    Rule,
    SubnetFact,
    TypeFact,
    Unknown,
)
from elastic_deploy.cluster.aws.preflight.wanted import Wanted, WantedNode
from elastic_deploy.model.check import Verdict, exit_code
from elastic_deploy.model.errors import ExitCode

HEAD = WantedNode(
    name="head",
    instance_type="m7i.xlarge",
    is_head=True,
    count=1,
    image="ami-head",
    key_name="ours",
    subnets=("subnet-1",),
    groups=("sg-1",),
    root_gib=60,
    profile="role",
)
GPU = WantedNode(
    name="gpu",
    instance_type="g6.xlarge",
    count=2,
    image="ami-gpu",
    key_name="ours",
    subnets=("subnet-1",),
    groups=("sg-1",),
    root_gib=150,
    placement_group="close",
)
WANTED = Wanted(
    cluster="c", region="us-west-2", zones=("us-west-2a",), nodes=(HEAD, GPU), insisted=True, private_key="~/key.pem"
)
SSH = Rule("tcp", 22, 22, ("203.0.113.7/32",))
INSIDE = Rule("-1", 0, 65535, ("sg-1",))
SUBNET = SubnetFact("vpc-1", "us-west-2a", 100, True)
FACTS = Facts(
    identity=Identity("123456789012", "arn:aws:iam::123456789012:user/me"),
    enabled_regions=("us-west-2", "us-east-1"),
    types={"m7i.xlarge": TypeFact(4, ("x86_64",), False), "g6.xlarge": TypeFact(4, ("x86_64",), False)},
    offered={"m7i.xlarge": ("us-west-2a",), "g6.xlarge": ("us-west-2a", "us-west-2b")},
    quotas={"L-1216C47A": 32.0, "L-DB2E81BA": 16.0},
    in_use={},
    images={
        "ami-head": ImageFact("ami-head", "available", "x86_64", 8),
        "ami-gpu": ImageFact("ami-gpu", "available", "x86_64", 75),
    },
    key_pairs={"ours": "aabb"},
    subnets={"subnet-1": SUBNET},
    groups={"sg-1": GroupFact("vpc-1", (SSH, INSIDE))},
    placement_groups={"close": PlacementFact("cluster", "available")},
    roles={"role": ("arn:aws:iam::123456789012:role/role",)},
    rights={"arn:aws:iam::123456789012:role/role": RightsFact()},
    private_key=FileFact(True, 0o600),
    public_key="aabb",
    mounts={"~/ray-token": FileFact(True, 0o600)},
)


def group(*rules: Rule) -> Facts:
    return replace(FACTS, groups={"sg-1": GroupFact("vpc-1", rules)})


def gpu(**changes: object) -> Wanted:
    return replace(WANTED, nodes=(HEAD, replace(GPU, **changes)))  # type: ignore[arg-type]


def head(**changes: object) -> Wanted:
    return replace(WANTED, nodes=(replace(HEAD, **changes), GPU))  # type: ignore[arg-type]


def facts(**changes: object) -> Facts:
    return replace(FACTS, **changes)  # type: ignore[arg-type]


def image(**changes: object) -> Facts:
    assert not isinstance(FACTS.images, Unknown)
    changed = replace(FACTS.images["ami-gpu"], **changes)  # type: ignore[arg-type]
    return facts(images={**FACTS.images, "ami-gpu": changed})


def test_all_is_well_on_a_sound_account() -> None:
    checks = judge(WANTED, FACTS)
    assert {each.verdict for each in checks} == {Verdict.PASS}, checks
    assert exit_code(checks) is ExitCode.DONE


ROLE = "arn:aws:iam::1:role/r"
REFUSED, NEVER, DONE = ExitCode.REFUSED, ExitCode.NEVER_FITS, ExitCode.DONE


@pytest.mark.parametrize(
    ("name", "wanted", "found", "code", "said"),
    [
        ("region", replace(WANTED, region="us-west-9", zones=()), FACTS, REFUSED, "not enabled"),
        ("region", replace(WANTED, zones=("us-west-2a", "eu-west-1a")), FACTS, REFUSED, "eu-west-1a"),
        ("placeholders", replace(WANTED, text=("sg-of-c",)), FACTS, REFUSED, "sg-of-c"),
        ("instance types", WANTED, facts(types={"m7i.xlarge": TypeFact(4, ("x86_64",), False)}), NEVER, "g6.xlarge"),
        ("zones", WANTED, facts(offered={"m7i.xlarge": ("us-west-2a",), "g6.xlarge": ("us-west-2b",)}), NEVER, "none"),
        ("quota", WANTED, facts(quotas={"L-1216C47A": 32.0, "L-DB2E81BA": 0.0}), NEVER, "is 0 vCPUs"),
        ("quota", WANTED, facts(quotas={"L-1216C47A": 32.0, "L-DB2E81BA": 4.0}), NEVER, "need 8 vCPUs"),
        ("quota", WANTED, facts(in_use={"L-DB2E81BA": 12}), REFUSED, "12 are in use"),
        ("quota", replace(WANTED, insisted=False), facts(in_use={"L-DB2E81BA": 12}), DONE, "lower max_workers"),
        ("quota", gpu(spot=True), FACTS, DONE, "L-3819A6DF"),
        ("images", gpu(image="ami-none"), FACTS, REFUSED, "no image ami-none"),
        ("images", gpu(image=""), FACTS, DONE, "no ImageId"),
        ("images", WANTED, image(state="pending"), REFUSED, "is pending"),
        ("images", WANTED, image(architecture="arm64"), REFUSED, "arm64"),
        ("images", WANTED, image(root_gib=200), REFUSED, "VolumeSize is 150"),
        ("efa", gpu(efa=True), FACTS, REFUSED, "no EFA"),
        ("private key", WANTED, facts(private_key=FileFact(False)), REFUSED, "not on this machine"),
        ("private key", WANTED, facts(private_key=FileFact(True, 0o644)), REFUSED, "mode 644"),
        ("key pair", WANTED, facts(key_pairs={}), REFUSED, "no key pair ours"),
        ("key pair", WANTED, facts(public_key="ccdd"), REFUSED, "not that of"),
        ("key pair", replace(WANTED, private_key=""), FACTS, DONE, "ssh_private_key is not written"),
        ("key pair", gpu(key_name=""), FACTS, REFUSED, "node type gpu has no KeyName"),
        ("subnets", WANTED, facts(subnets={"subnet-1": replace(SUBNET, free_addresses=1)}), REFUSED, "1 free"),
        ("addresses", WANTED, facts(subnets={"subnet-1": replace(SUBNET, public=False)}), REFUSED, "no public"),
        ("security group", WANTED, facts(groups={}), REFUSED, "no security group sg-1"),
        ("security group", WANTED, group(INSIDE), REFUSED, "from no address"),
        ("security group", WANTED, group(SSH), REFUSED, "all traffic"),
        ("security group", WANTED, group(SSH, Rule("tcp", 1024, 65535, ("sg-1",))), REFUSED, "all traffic"),
        ("security group", WANTED, group(replace(SSH, sources=("0.0.0.0/0",)), INSIDE), DONE, "anybody"),
        ("security group", WANTED, group(SSH, INSIDE, Rule("tcp", 8265, 8265, ("::/0",))), REFUSED, "8265"),
        ("security group", WANTED, facts(groups={"sg-1": GroupFact("vpc-2", (SSH, INSIDE))}), REFUSED, "vpc-2"),
        ("placement group", WANTED, facts(placement_groups={}), REFUSED, "no placement group close"),
        (
            "placement group",
            WANTED,
            facts(placement_groups={"close": PlacementFact("spread", "available")}),
            DONE,
            "spre",
        ),
        ("role", WANTED, facts(roles={}), REFUSED, "no instance profile role"),
        ("role", WANTED, facts(roles={"role": ()}), REFUSED, "has no role"),
        ("role", head(profile=""), FACTS, DONE, "wide rights"),
        ("rights", WANTED, facts(rights={ROLE: RightsFact(("ec2:RunInstances on x",))}), REFUSED, "RunInstances"),
        ("rights", WANTED, facts(rights={ROLE: RightsFact(("iam:PassRole on x",))}), REFUSED, "right to pass"),
        ("rights", WANTED, facts(rights={ROLE: RightsFact((), ("ec2:RunInstances on x",))}), DONE, "is not known"),
        ("file mounts", WANTED, facts(mounts={"~/ray-token": FileFact(False)}), REFUSED, "does not exist"),
        ("file mounts", WANTED, facts(mounts={"~/ray-token": FileFact(True, 0o644)}), REFUSED, "mode 644"),
    ],
)
def test_a_fault_fails_its_own_check(name: str, wanted: Wanted, found: Facts, code: ExitCode, said: str) -> None:
    checks = judge(wanted, found)
    bad = [each for each in checks if each.verdict is not Verdict.PASS]
    assert {each.name for each in bad} == {name}, bad
    assert any(said in each.sentence + each.mend for each in bad), bad
    assert exit_code(checks) is code


TWO = replace(head(groups=("sg-h",)), private_key="~/key.pem")
OF_HEAD, OF_GPU = Rule("-1", 0, 65535, ("sg-h",)), Rule("-1", 0, 65535, ("sg-1",))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (gpu(key_name="", user_data=True), FACTS),
        (replace(WANTED, private_key="", nodes=(replace(HEAD, key_name=""), replace(GPU, key_name=""))), FACTS),
        (WANTED, group(SSH, Rule("tcp", 0, 65535, ("sg-1",)))),
        (WANTED, group(Rule("tcp", 22, 22, ("sg-bastion",)), INSIDE)),
        (WANTED, group(Rule("tcp", 22, 22, ("pl-office",)), INSIDE)),
        (replace(WANTED, internal_ips=True), group(INSIDE)),
        # The head and the others in groups of their own that let each other in: the head is one, and never asks itself.
        (TWO, facts(groups={"sg-h": GroupFact("vpc-1", (SSH, OF_GPU)), "sg-1": GroupFact("vpc-1", (OF_HEAD, OF_GPU))})),
    ],
)
def test_what_works_is_not_refused(wanted: Wanted, found: Facts) -> None:
    assert [each for each in judge(wanted, found) if each.verdict is not Verdict.PASS] == []


def test_free_addresses_are_counted_over_all_that_share_a_subnet() -> None:
    def with_free(first: int, second: int) -> Facts:
        one, two = replace(SUBNET, free_addresses=first), replace(SUBNET, free_addresses=second)
        return facts(subnets={"subnet-1": one, "subnet-2": two})

    # The head and two nodes: each type alone would have found room for itself.
    checks = judge(WANTED, with_free(2, 9))
    said = "subnet-1 of node types head and gpu have 2 free addresses together, and 3 nodes"
    assert [said in each.sentence for each in checks if each.verdict is not Verdict.PASS] == [True]
    # One of the nodes may start in another subnet, if the head is left a place in the only one that it has.
    either = gpu(subnets=("subnet-1", "subnet-2"))
    assert exit_code(judge(either, with_free(2, 1))) is DONE
    assert exit_code(judge(either, with_free(1, 1))) is REFUSED
    assert exit_code(judge(either, with_free(0, 9))) is REFUSED
    # Without a number of GPUs the types together are held against the cluster's own limit.
    both = replace(WANTED, nodes=(HEAD, GPU, replace(GPU, name="other")), insisted=False, max_workers=2)
    assert {each.verdict for each in judge(both, with_free(3, 0))} == {Verdict.PASS}
    assert Verdict.WARNING in {each.verdict for each in judge(both, with_free(2, 0))}


def test_subnets_must_exist_and_share_a_vpc() -> None:
    two = facts(subnets={"subnet-1": SUBNET, "subnet-2": replace(SUBNET, vpc="vpc-2")})
    checks = judge(gpu(subnets=("subnet-2",)), two)
    assert any("several VPCs" in each.sentence for each in checks)
    checks = judge(gpu(subnets=("subnet-9",)), FACTS)
    assert any("no subnet subnet-9" in each.sentence for each in checks)


def test_answers_that_do_not_come_are_unknown_and_no_failure() -> None:
    fields = [name for name in Facts.__dataclass_fields__ if name not in ("identity", "private_key", "mounts")]
    checks = judge(WANTED, facts(**dict.fromkeys(fields, Unknown("AWS said no"))))
    assert exit_code(checks) is ExitCode.DONE
    unknown = [each for each in checks if each.verdict is Verdict.UNKNOWN]
    assert len(unknown) == 12
    assert all("AWS said no" in each.sentence for each in unknown), unknown


def test_without_credentials_only_this_machine_is_checked() -> None:
    checks = judge(WANTED, facts(identity=Unknown("Unable to locate credentials")))
    assert [each.name for each in checks] == ["credentials", "placeholders", "private key", "file mounts"]
    assert exit_code(checks) is ExitCode.REFUSED

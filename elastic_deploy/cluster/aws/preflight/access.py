"""Checks on who gets in, and with which rights: the key pair, the head's role, the files that are mounted. Pure."""

from elastic_deploy.cluster.aws.preflight.facts import Facts, Unknown
from elastic_deploy.cluster.aws.preflight.verdicts import failure, found, passed, unknown, warning
from elastic_deploy.cluster.aws.preflight.wanted import Wanted
from elastic_deploy.model.check import Check

_OTHERS = 0o077


def private_key(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """The private key is here, and nobody else's to read: SSH refuses it otherwise."""
    if not wanted.private_key or facts.private_key is None:
        return ()
    if not facts.private_key.exists:
        said = f"The private key {wanted.private_key} (auth.ssh_private_key) is not on this machine."
        return (failure("private key", said, "Bring it here, or name the one that belongs to KeyName."),)
    if facts.private_key.mode & _OTHERS:
        said = f"The private key {wanted.private_key} can be read by others (mode {facts.private_key.mode:03o})."
        return (failure("private key", said, f"SSH refuses such a key: `chmod 600 {wanted.private_key}`."),)
    return (passed("private key", f"{wanted.private_key} is here, and yours alone."),)


def key_pair(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """EC2 has the key pair, and it is that of the private key here."""
    names = tuple(dict.fromkeys(each.key_name for each in wanted.nodes if each.key_name))
    if not wanted.private_key:
        own = f"Ray uses a pair of its own for {wanted.region}, its private key under ~/.ssh"
        if not names:
            return (passed("key pair", f"No key is named: {own}."),)
        said = f"KeyName is {', '.join(names)}, and auth.ssh_private_key is not written: {own}, and not that KeyName."
        return (warning("key pair", said, "Write where its private key lies, as auth.ssh_private_key."),)
    # UserData may let the key in without EC2's help, and Ray asks for no KeyName then.
    without = [each.name for each in wanted.nodes if not each.key_name and not each.user_data]
    if without:
        said = f"auth.ssh_private_key is {wanted.private_key}, and node type {', '.join(without)} has no KeyName."
        mend = "Write the key pair's KeyName into the node_config of every node type."
        return (failure("key pair", said, mend),)
    if not names:
        return (passed("key pair", f"UserData is to let {wanted.private_key} in."),)
    if isinstance(facts.key_pairs, Unknown):
        return (unknown("key pair", f"Whether EC2 has {', '.join(names)}", facts.key_pairs),)
    checks = []
    for name in names:
        there = facts.key_pairs.get(name)
        if there is None:
            said = f"EC2 has no key pair {name} in {wanted.region}."
            checks.append(failure("key pair", said, "Import its public key with `aws ec2 import-key-pair`."))
        elif isinstance(facts.public_key, Unknown) or not there:
            why = (
                facts.public_key
                if isinstance(facts.public_key, Unknown)
                else Unknown("EC2 does not show its public key")
            )
            checks.append(unknown("key pair", f"Whether the private key belongs to {name}", why))
        elif there != facts.public_key:
            said = f"The private key {wanted.private_key} is not that of EC2's key pair {name}."
            checks.append(failure("key pair", said, f"Name the private key of {name}, or another KeyName."))
    return found("key pair", checks, f"Key pair {', '.join(names)} is that of {wanted.private_key}.")


def role(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """The head's instance profile exists, and has a role."""
    names = tuple(dict.fromkeys(each.profile for each in wanted.nodes if each.profile))
    if not any(each.profile for each in wanted.nodes if each.is_head):
        said = "The head has no IamInstanceProfile: Ray makes ray-autoscaler-v1, a role with wide rights."
        mend = "`elastic-deploy generate aws --policy` prints the rights that are enough."
        missing = [warning("role", said, mend)]
    else:
        missing = []
    if isinstance(facts.roles, Unknown):
        return (*missing, *((unknown("role", "Whether the role is there", facts.roles),) if names else ()))
    for name in names:
        if name not in facts.roles:
            said = f"There is no instance profile {name}."
            mend = "Make it with the commands at the top of a file by `elastic-deploy generate aws`."
            missing.append(failure("role", said, mend))
        elif not facts.roles[name]:
            mend = f"`aws iam add-role-to-instance-profile --instance-profile-name {name} --role-name ROLE`."
            missing.append(failure("role", f"Instance profile {name} has no role.", mend))
    return found("role", missing, f"Instance profile {', '.join(names)} has its role.")


def rights(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:
    """The head's role may do what the autoscaler does."""
    if not any(each.profile for each in wanted.nodes if each.is_head):
        return ()
    if isinstance(facts.rights, Unknown):
        return (unknown("rights", "What the head's role may do", facts.rights),)
    faults = []
    for arn, told in facts.rights.items():
        name = arn.rpartition("/")[2]
        if told.refused:
            said = f"The head's role {name} is refused {', '.join(told.refused)}."
            mend = "Give it the policy that `elastic-deploy generate aws --policy` prints"
            passing = any(each.startswith("iam:PassRole") for each in told.refused)
            mend += ", and the right to pass the role of the workers' instance profile." if passing else "."
            faults.append(failure("rights", said, mend))
        if told.undecided:
            why = Unknown("its policies ask for more than a simulation is told")
            faults.append(unknown("rights", f"Whether role {name} has {', '.join(told.undecided)}", why))
    return found("rights", faults, "The head's role may launch, tag and end nodes.")


def file_mounts(wanted: Wanted, facts: Facts) -> tuple[Check, ...]:  # noqa: ARG001
    """What is copied to the nodes is here, and a token is nobody else's to read."""
    checks = []
    for written, fact in facts.mounts.items():
        secret = written.rpartition("/")[2].endswith("token")
        if not fact.exists and secret:
            said = f"{written}, which file_mounts copies to the nodes, does not exist."
            mend = "Make it with the commands at the top of a file by `elastic-deploy generate aws`."
            checks.append(failure("file mounts", said, mend))
        elif not fact.exists:
            said = f"{written}, which file_mounts copies to the nodes, does not exist."
            checks.append(failure("file mounts", said, "Put the file there, or take its line out."))
        elif secret and fact.mode & _OTHERS:
            said = f"{written} can be read by others (mode {fact.mode:03o})."
            checks.append(failure("file mounts", said, f"`chmod 600 {written}`."))
    return found("file mounts", checks, "Every file that is copied to the nodes is here.")

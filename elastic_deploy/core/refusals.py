"""What mends a refusal of the cloud, by its code: an ordered table, first match wins. Pure.

Read by `core.explain` and `core.ledger` for workers, and by `cluster.telling` for a head. Codes are EC2's
(EC2 API reference, "Error codes"); a code that is not here has the cloud's own words and no mend.
"""

import re

_MENDS = (
    (
        r"InsufficientInstanceCapacity|InsufficientHostCapacity|SpotMaxPriceTooLow",
        "Try another zone{zones}, or another type.",
    ),
    (
        r"VcpuLimitExceeded|InstanceLimitExceeded|MaxSpotInstanceCountExceeded",
        "Ask AWS for a higher limit (Service Quotas, Amazon EC2), or ask for fewer or smaller nodes.",
    ),
    (r"RequestLimitExceeded|Throttling|ThrottlingException", "AWS limits how often it is asked: it passes by itself."),
    (r"InvalidAMIID\..*", "Name an image of this region in ImageId."),
    (r"InvalidKeyPair\..*", "Make the key pair in this region, or name one that is there in KeyName."),
    (r"InsufficientFreeAddressesInSubnet", "Name another subnet, or a larger one, in SubnetIds."),
    (r"InvalidSubnetID\..*|InvalidSubnet", "Name a subnet of this region in SubnetIds."),
    (r"InvalidGroup\..*", "Name a security group of the subnet's network in SecurityGroupIds."),
    (
        r"UnauthorizedOperation|AccessDenied|AccessDeniedException",
        "Give the caller the right that is named: the launcher's for the head, for workers the head's instance role.",
    ),
    (
        r"AuthFailure|InvalidClientTokenId|SignatureDoesNotMatch|ExpiredToken|RequestExpired|UnrecognizedClientException",
        "Look after the credentials: `aws sts get-caller-identity` says whose they are.",
    ),
    (
        r"NoCredentialsError|PartialCredentialsError|CredentialRetrievalError",
        "Give AWS credentials: the launcher's own for the head, for workers an instance profile of the head.",
    ),
    (r"Unsupported|InvalidParameterCombination", "Choose a type that is offered in the zone and fits the image."),
    (r"OptInRequired|PendingVerification", "The account has to be enabled for this; AWS mails when it is."),
)
_ROLE = re.compile(r"instance ?profile", re.I)
_ROLE_MEND = "Make the instance profile with its role, or name one that is there in IamInstanceProfile."


def mend(code: str, message: str = "", other_zones: str = "") -> str:
    """A sentence that says what to do, empty where nobody knows. `other_zones` are those that the cloud recommends."""
    if code.startswith("InvalidParameterValue") and _ROLE.search(message):
        return _ROLE_MEND
    for pattern, sentence in _MENDS:
        if re.fullmatch(pattern, code):
            return sentence.format(zones=f" ({other_zones})" if other_zones else "")
    return ""


def other_zones(message: str) -> str:
    """The zones in which EC2 says that there is capacity, as it lists them; empty where it names none."""
    match = re.search(r"or choosing ([a-z0-9, -]+)\.", message)
    return match[1] if match else ""

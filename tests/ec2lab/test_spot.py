"""What our own reader makes of the metadata of a spot instance: read on the host itself, as a node would."""

import json
import time
from pathlib import Path

import pytest

from tests.ec2lab.asking import boot, until
from tests.ec2lab.commands import Done
from tests.ec2lab.lab import Lab

pytestmark = pytest.mark.lab

READ = """
import json, sys
from elastic_deploy.runtime.spot_notice import Metadata, endpoint
metadata = Metadata(endpoint())
notice = metadata.notice()
print(json.dumps([metadata.life_cycle(), None if notice is None else [notice.interruption, notice.at]]))
"""


def read(lab: Lab, instance: str) -> list[object]:
    """The life cycle and the notice, as an instance reads them."""
    return list(json.loads(python(lab, instance, READ).check().stdout))


def python(lab: Lab, instance: str, code: str) -> Done:
    """Run Python on a host, with this checkout's package."""
    return lab.run_on(instance, ["env", f"PYTHONPATH={Path(__file__).parents[2]}", "python", "-c", code])


def test_a_spot_instance_reads_its_own_notice_with_tokens_required(lab: Lab) -> None:
    required = {"HttpTokens": "required"}
    spot = boot(lab, InstanceMarketOptions={"MarketType": "spot"}, MetadataOptions=required)
    lasting = boot(lab, MetadataOptions=required)
    assert read(lab, spot) == ["spot", None]
    assert read(lab, lasting) == ["on-demand", None]
    lab.rebalance(spot)
    assert read(lab, spot) == ["spot", [False, None]]
    lab.spot_notice(spot, in_seconds=20)
    at = time.time() + 20
    life_cycle, notice = read(lab, spot)
    assert life_cycle == "spot"
    assert isinstance(notice, list)
    assert notice[0] is True
    assert abs(notice[1] - at) < 5
    assert read(lab, lasting) == ["on-demand", None], "it is another's notice"
    until(lambda: list(lab.hosts()) == [lasting])


def test_an_instance_without_metadata_says_so(lab: Lab) -> None:
    closed = boot(lab, MetadataOptions={"HttpEndpoint": "disabled"})
    done = python(lab, closed, READ)
    assert done.returncode == 1
    assert "NoMetadataError" in done.stderr

"""AWS's prices: what is asked, what is made of the answers, and that none is no error.

botocore's Stubber answers: moto has no price list, and its spot prices are made up afresh at each question.
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from elastic_deploy.cluster.aws import price_list
from elastic_deploy.cluster.config import ClusterConfig, load_cluster

YAML = """
cluster_name: c
max_workers: 4
provider: {type: aws, region: us-west-2, availability_zone: "us-west-2a,us-west-2b"}
auth: {ssh_user: ubuntu}
available_node_types:
  head: {node_config: {InstanceType: m5.large}}
  gpu: {max_workers: 4, node_config: {InstanceType: g5.xlarge, InstanceMarketOptions: {MarketType: spot}}}
head_node_type: head
"""


class Aws:
    """Both services' clients, and their stubs."""

    def __init__(self) -> None:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.clients = {name: boto3.client(name, "us-east-1", **keys) for name in ("pricing", "ec2")}
        self.stubs = {name: Stubber(client) for name, client in self.clients.items()}

    def list_price(self, *prices: tuple[str, str]) -> None:
        dimensions = {
            str(place): {"unit": unit, "pricePerUnit": {"USD": usd}} for place, (unit, usd) in enumerate(prices)
        }
        product = {"product": {}, "terms": {"OnDemand": {"x": {"priceDimensions": dimensions}}}}
        self.stubs["pricing"].add_response(
            "get_products",
            {"PriceList": [json.dumps(product)]},
            {"ServiceCode": ANY, "Filters": ANY, "MaxResults": ANY},
        )

    def spot_prices(self, *prices: tuple[str, str, int]) -> None:
        told = [
            {
                "AvailabilityZone": zone,
                "InstanceType": "g5.xlarge",
                "SpotPrice": usd,
                "Timestamp": datetime(2026, 1, day, tzinfo=UTC),
            }
            for zone, usd, day in prices
        ]
        self.stubs["ec2"].add_response("describe_spot_price_history", {"SpotPriceHistory": told})


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    made = Aws()
    monkeypatch.setattr(price_list, "_client", lambda _config, service, _region: made.clients[service])
    for stub in made.stubs.values():
        stub.activate()
    return made


@pytest.fixture
def config(tmp_path: Path) -> ClusterConfig:
    path = tmp_path / "c.yaml"
    path.write_text(YAML)
    return load_cluster(path)


def test_the_list_is_asked_for_on_demand_types_and_the_history_for_spot_ones(aws: Aws, config: ClusterConfig) -> None:
    aws.list_price(("Hrs", "0.096"), ("Quantity", "500"), ("Hrs", "0"))
    # The latest of each zone, and of the zones where it may start the dearest.
    aws.spot_prices(
        ("us-west-2a", "0.40", 2), ("us-west-2a", "0.90", 1), ("us-west-2b", "0.45", 2), ("us-west-2c", "9", 2)
    )
    assert price_list.asked_prices(config) == {"head": 0.096, "gpu": 0.45}


def test_what_is_asked_is_linux_in_this_region_alone(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Client:
        def get_products(self, **words: Any) -> dict[str, Any]:
            asked.append({each["Field"]: each["Value"] for each in words["Filters"]})
            return {"PriceList": []}

        def describe_spot_price_history(self, **words: Any) -> dict[str, Any]:
            asked.append(words["InstanceTypes"])
            return {"SpotPriceHistory": []}

    monkeypatch.setattr(price_list, "_client", lambda *_: Client())
    assert price_list.asked_prices(config) == {}
    (filters,) = [each for each in asked if isinstance(each, dict)]
    assert filters["instanceType"] == "m5.large"
    assert filters["regionCode"] == "us-west-2"
    assert (filters["operatingSystem"], filters["tenancy"], filters["preInstalledSw"]) == ("Linux", "Shared", "NA")
    assert ["g5.xlarge"] in asked


def test_a_refusal_leaves_the_others(aws: Aws, config: ClusterConfig) -> None:
    aws.stubs["pricing"].add_client_error("get_products", "AccessDeniedException")
    aws.spot_prices(("us-west-2a", "0.40", 2))
    assert price_list.asked_prices(config) == {"gpu": 0.40}


def test_an_answer_in_another_form_is_none(aws: Aws, config: ClusterConfig) -> None:
    aws.stubs["pricing"].add_response("get_products", {"PriceList": ['{"terms": []}']})
    aws.stubs["ec2"].add_client_error("describe_spot_price_history", "RequestLimitExceeded")
    assert price_list.asked_prices(config) == {}


def test_nobody_is_waited_for(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def __getattr__(self, _name: str) -> Any:
            return lambda **_words: time.sleep(2)

    monkeypatch.setattr(price_list, "_client", lambda *_: Slow())
    monkeypatch.setattr(price_list, "WITHIN_S", 0.2)
    began = time.monotonic()
    assert price_list.asked_prices(config) == {}
    assert time.monotonic() - began < 1.5


def test_without_credentials_there_is_no_price(config: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert price_list.asked_prices(config) == {}

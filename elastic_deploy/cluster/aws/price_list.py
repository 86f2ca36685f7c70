"""What nodes cost by AWS's own word: its price list for on-demand instances, its latest prices for spot ones.

Called by `up`, once a run, before it hands a deployment over. No answer is no error: whoever asks falls back on the
table in `prices`. Imports boto3 only when AWS is asked.
"""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import UTC, datetime
from functools import partial
from typing import Any

from elastic_deploy.cluster.aws.session import region_of
from elastic_deploy.cluster.config import ClusterConfig

WITHIN_S = 4.0
"""How long all the answers may take together."""

_REGION = "us-east-1"
"""The price list of all regions is asked for here; only a few others have it as well."""
_AT_ONCE = 4


def asked_prices(config: ClusterConfig) -> dict[str, float]:
    """US dollars an hour by node type, those that AWS has told in time. Raises nothing."""
    wanted: dict[tuple[str, bool], list[str]] = {}
    for name, written in config.raw["available_node_types"].items():
        node = written.get("node_config") or {}
        spot = (node.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"
        wanted.setdefault((str(node.get("InstanceType")), spot), []).append(name)
    try:
        pricing, ec2 = _client(config, "pricing", _REGION), _client(config, "ec2", region_of(config))
    except Exception:  # noqa: BLE001 (no credentials, no such profile, no boto3: the table has to do)
        return {}
    deadline = time.monotonic() + WITHIN_S
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        zones = _zones(config)
        asked: dict[tuple[str, bool], Future[float | None]] = {}
        for kind, spot in wanted:
            question = (
                partial(_spot, ec2, kind, zones) if spot else partial(_on_demand, pricing, kind, region_of(config))
            )
            asked[kind, spot] = pool.submit(_quietly, question)
        found: dict[str, float] = {}
        for key, future in asked.items():
            try:
                price = future.result(max(0.0, deadline - time.monotonic()))
            except FutureTimeoutError:
                continue
            if price is not None:
                found.update(dict.fromkeys(wanted[key], price))
        return found
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _client(config: ClusterConfig, service: str, region: str) -> Any:
    import boto3
    from botocore.config import Config

    # A question that nobody answers must be over before long: Python waits for its thread when it ends.
    patience = Config(connect_timeout=2, read_timeout=WITHIN_S, retries={"total_max_attempts": 1})
    credentials = config.raw["provider"].get("aws_credentials") or {}
    return boto3.Session().client(service, region_name=region, config=patience, **credentials)


def _quietly(question: Callable[[], float | None]) -> float | None:
    try:
        return question()
    except Exception:  # noqa: BLE001 (a refusal, a proxy's page, an answer in another form: all mean "not known")
        return None


def _zones(config: ClusterConfig) -> tuple[str, ...]:
    written = str(config.raw["provider"].get("availability_zone") or "")
    return tuple(each.strip() for each in written.split(",") if each.strip())


def _on_demand(pricing: Any, instance_type: str, region: str) -> float | None:
    attributes = {
        "instanceType": instance_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
    products = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters, MaxResults=20)["PriceList"]
    return max((price for each in products for price in _hourly(json.loads(each))), default=None)


def _hourly(product: dict[str, Any]) -> Iterator[float]:
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0.0))
            if dimension["unit"] == "Hrs" and price > 0:
                yield price


def _spot(ec2: Any, instance_type: str, zones: tuple[str, ...]) -> float | None:
    """The highest of the zones where it may start: a budget is rather kept too early than too late."""
    told = ec2.describe_spot_price_history(
        InstanceTypes=[instance_type],
        ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
        StartTime=datetime.now(UTC),  # each zone's price as it is now
    )["SpotPriceHistory"]
    latest: dict[str, tuple[Any, float]] = {}
    for each in told:
        zone = each["AvailabilityZone"]
        if each["InstanceType"] == instance_type and (not zones or zone in zones):
            latest[zone] = max(
                latest.get(zone, (each["Timestamp"], 0.0)), (each["Timestamp"], float(each["SpotPrice"]))
            )
    return max((price for _, price in latest.values()), default=None)

"""Alibaba Cloud's own SDK as the judge: of our signatures, our flattening and the emulator."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from alibabacloud_eci20180808 import models
from alibabacloud_eci20180808.client import Client
from alibabacloud_tea_openapi import models as openapi
from alibabacloud_tea_openapi.utils import Utils
from Tea.exceptions import TeaException
from Tea.request import TeaRequest

from federation.backends.eci.parameters import flatten
from federation.backends.eci.signature import ALGORITHM, sign
from tests.eci.connecting import KEY, KEYS, make_group
from tests.eci.script import Fate
from tests.eci.server import Emulator

REGION = "cn-beijing"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    fate = Fate(scheduling=0, pulling=0)
    async with Emulator(keys=KEYS, fate=lambda _: fate) as running:
        yield running


@pytest.fixture
def sdk(emulator: Emulator) -> Any:
    return Client(
        openapi.Config(
            access_key_id=KEY.id,
            access_key_secret=KEY.secret,
            region_id=REGION,
            endpoint=emulator.url.removeprefix("http://"),
            protocol="HTTP",
        )
    )


def create_request(name: str, token: str, value: str = "x y/ä*~") -> Any:
    variable = models.CreateContainerGroupRequestContainerEnvironmentVar(key="A", value=value)
    container = models.CreateContainerGroupRequestContainer(
        name="main", image="app:1", cpu=0.5, memory=1.0, environment_var=[variable]
    )
    return models.CreateContainerGroupRequest(
        region_id=REGION,
        container_group_name=name,
        container=[container],
        client_token=token,
        auto_create_eip=False,
        tag=[models.CreateContainerGroupRequestTag(key="k", value="v")],
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"RegionId": REGION, "Tag": [{"Key": "a b", "Value": "ä/~*'()!+&="}]},
        make_group("web", ClientToken="t"),
    ],
)
def test_our_signature_is_the_sdks(parameters: dict[str, Any]) -> None:
    flat = flatten(parameters)
    ours = sign(
        flat, key=KEY, host="h:1", action="A", date="2026-01-31T12:00:00Z", nonce="n"
    ).headers
    request = TeaRequest()
    request.method, request.pathname, request.query = "POST", "/", flat
    request.headers = {k: v for k, v in ours.items() if k != "Authorization"}

    theirs = Utils.get_authorization(
        request, ALGORITHM, ours["x-acs-content-sha256"], KEY.id, KEY.secret
    )

    assert ours["Authorization"] == theirs


def test_our_parameters_are_flattened_as_the_sdks() -> None:
    request = create_request("web", "t")

    assert flatten(request.to_map()) == {
        name: value.lower() if value in {"True", "False"} else value
        for name, value in Utils.query(request.to_map()).items()
    }


async def test_the_sdk_creates_lists_and_deletes_in_the_emulator(sdk: Any) -> None:
    made = (await sdk.create_container_group_async(create_request("web", "t"))).body
    again = (await sdk.create_container_group_async(create_request("web", "t"))).body
    assert again.container_group_id == made.container_group_id

    asked = models.DescribeContainerGroupsRequest(region_id=REGION)
    groups = (await sdk.describe_container_groups_async(asked)).body.container_groups
    assert [(g.container_group_id, g.status) for g in groups] == [
        (made.container_group_id, "Running")
    ]
    wanted = models.DescribeContainerGroupStatusRequest(region_id=REGION, since_second=60)
    [status] = (await sdk.describe_container_group_status_async(wanted)).body.data
    assert status.pod_status.container_statuses[0].name == "main"
    assert status.pod_status.phase == "Running"

    gone = models.DeleteContainerGroupRequest(
        region_id=REGION, container_group_id=made.container_group_id
    )
    assert (await sdk.delete_container_group_async(gone)).body.request_id


async def test_the_sdk_reads_logs_prices_stock_usage_events_and_sessions(
    sdk: Any, emulator: Emulator
) -> None:
    made = (await sdk.create_container_group_async(create_request("web", "t"))).body
    group = made.container_group_id
    emulator.write_log(group, "main", "hello")
    of = {"region_id": REGION, "container_group_id": group}

    log = await sdk.describe_container_log_async(
        models.DescribeContainerLogRequest(container_name="main", **of)
    )
    assert log.body.content == "hello\n"
    session = await sdk.exec_container_command_async(
        models.ExecContainerCommandRequest(container_name="main", command='["ls"]', **of)
    )
    assert session.body.web_socket_uri.startswith("ws://")
    price = await sdk.describe_container_group_price_async(
        models.DescribeContainerGroupPriceRequest(
            region_id=REGION, cpu=2.0, memory=4.0, spot_strategy="SpotAsPriceGo"
        )
    )
    assert price.body.price_info.price.trade_price > 0
    assert price.body.price_info.spot_prices.spot_price[0].spot_price > 0
    wanted = models.DescribeAvailableResourceRequestDestinationResource(
        category="InstanceType", value="ecs.gn6i-c4g1.xlarge"
    )
    stock = await sdk.describe_available_resource_async(
        models.DescribeAvailableResourceRequest(region_id=REGION, destination_resource=wanted)
    )
    assert stock.body.available_zones.available_zone[0].zone_id == "cn-beijing-a"
    usage = await sdk.list_usage_async(models.ListUsageRequest(region_id=REGION))
    assert usage.body.attributes["UsedCpu"] == 0.5
    emulator.reclaim(group)
    events = await sdk.describe_container_group_events_async(
        models.DescribeContainerGroupEventsRequest(region_id=REGION)
    )
    assert events.body.data[0].events[-1].reason == "SpotToBeReleased"


async def test_the_sdk_is_told_of_a_reused_token(sdk: Any) -> None:
    await sdk.create_container_group_async(create_request("one", "t"))

    with pytest.raises(TeaException) as raised:
        await sdk.create_container_group_async(create_request("two", "t"))

    assert raised.value.code == "IdempotentParameterMismatch"


async def test_the_emulator_refuses_a_wrong_secret_of_the_sdk(emulator: Emulator) -> None:
    wrong = Client(
        openapi.Config(
            access_key_id=KEY.id,
            access_key_secret="wrong",
            region_id=REGION,
            endpoint=emulator.url.removeprefix("http://"),
            protocol="HTTP",
        )
    )

    with pytest.raises(TeaException) as raised:
        await wrong.list_usage_async(models.ListUsageRequest(region_id=REGION))

    assert raised.value.code == "SignatureDoesNotMatch"

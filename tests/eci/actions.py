"""The actions: nested parameters in, the JSON of the answer out, or a Refusal.

Owned by the server, which has checked the signature and counted the call.
"""

import base64
import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from tests.eci.creation import check_create
from tests.eci.faults import Faults
from tests.eci.groups import FINAL, Group, Groups, rfc3339, vcpus
from tests.eci.refusal import Refusal, invalid, missing
from tests.eci.views import shown_events, shown_group, shown_status

Asked = dict[str, Any]
Answer = dict[str, Any]

WRITES = frozenset({"CreateContainerGroup", "DeleteContainerGroup", "RestartContainerGroup"})
EXEC_WAITS = 30.0
"""Seconds in which the address of an exec session may be opened."""

PRICES = {"ecs.gn6i-c4g1.xlarge": 11.0, "ecs.gn7i-c8g1.2xlarge": 16.0}
"""Prices an hour by instance type: invented, as are those of vCPU and memory."""


class Actions:
    """One region of one account."""

    def __init__(self, groups: Groups, faults: Faults, *, region: str) -> None:
        self._groups = groups
        self._faults = faults
        self._region = region
        self._maker = ""
        self.sessions: dict[str, tuple[Group, Asked, float]] = {}
        """Exec sessions that wait to be opened: group, what was asked, and until when."""
        self._actions: dict[str, Callable[[Asked, float], Answer]] = {
            "CreateContainerGroup": self._create,
            "DeleteContainerGroup": self._delete,
            "DescribeAvailableResource": self._stock,
            "DescribeContainerGroupEvents": self._events,
            "DescribeContainerGroupPrice": self._price,
            "DescribeContainerGroupStatus": self._statuses,
            "DescribeContainerGroups": self._describe,
            "DescribeContainerLog": self._log,
            "ExecContainerCommand": self._execute,
            "ListUsage": self._usage,
            "RestartContainerGroup": self._restart,
        }

    def carry_out(self, action: str, asked: Asked, now: float, *, maker: str) -> Answer:
        """Do it for the key `maker` and return the answer."""
        handler = self._actions.get(action)
        if handler is None:
            raise Refusal("InvalidAction.NotFound", "Specified api is not found.", status=404)
        if not asked.get("RegionId"):
            raise missing("RegionId")
        if asked["RegionId"] != self._region:
            raise Refusal("InvalidRegionId.NotFound", "The region does not exist.", status=404)
        if refusal := self._faults.due(action):
            raise refusal
        self._maker = maker
        return handler(asked, now)

    def _create(self, asked: Asked, now: float) -> Answer:
        check_create(asked)
        token = asked.get("ClientToken", "")
        if token and (earlier := self._groups.by_token(token)):
            group, first = earlier
            if first != asked:
                raise Refusal(
                    "IdempotentParameterMismatch", "The token was used with other parameters."
                )
            return {"ContainerGroupId": group}
        kinds = asked.get("InstanceType", "").split(",")
        sold_out = self._faults.no_stock
        if "*" in sold_out or (kinds != [""] and all(kind in sold_out for kind in kinds)):
            raise Refusal("OperationDenied.NoStock", "The resource is out of stock.", status=403)
        if self._used(now) + vcpus(asked) > self._faults.max_cpu:
            raise Refusal("QuotaExceeded", "The quota of vCPUs is exceeded.", status=403)
        if asked.get("DryRun") == "true":
            raise Refusal("DryRunOperation", "The request would have succeeded.")
        made = self._groups.create(asked, now, token=token, maker=self._maker)
        return {"ContainerGroupId": made.id}

    def _delete(self, asked: Asked, now: float) -> Answer:
        self._groups.delete(self._one(asked, now), now)
        return {}

    def _restart(self, asked: Asked, now: float) -> Answer:
        self._groups.restart(self._one(asked, now), now)
        return {}

    def _describe(self, asked: Asked, now: float) -> Answer:
        found = [
            group
            for group in self._selected(asked, now)
            if asked.get("Status") in {None, group.status(now)}
            and asked.get("ContainerGroupName") in {None, group.asked["ContainerGroupName"]}
        ]
        page, token = self._page(found, asked, most=20)
        events = asked.get("WithEvent") == "true"
        shown = [shown_group(group, now, events=events) for group in page]
        return {"ContainerGroups": shown, "NextToken": token, "TotalCount": len(found)}

    def _statuses(self, asked: Asked, now: float) -> Answer:
        since = now - _since(asked)
        found = [g for g in self._selected(asked, now) if g.step(now).at >= since]
        page, token = self._page(found, asked, most=200)
        shown = [shown_status(group, now) for group in page]
        return {"Data": shown, "NextToken": token, "TotalCount": len(found)}

    def _events(self, asked: Asked, now: float) -> Answer:
        since = now - _since(asked)
        found = self._selected(asked, now)
        page, token = self._page(found, asked, most=200)
        shown = [shown_events(group, now, since=since) for group in page]
        return {"Data": shown, "NextToken": token, "TotalCount": len(found)}

    def _log(self, asked: Asked, now: float) -> Answer:
        group, container = self._one(asked, now), _container(self._one(asked, now), asked)
        tail = _number(asked, "Tail", default=500, most=2000)
        since = now - _number(asked, "SinceSeconds", default=10**9)
        start = asked.get("StartTime", "")
        stamped = asked.get("Timestamps") == "true"
        lines = [
            f"{rfc3339(line.at)} {line.text}" if stamped else line.text
            for line in group.log
            if line.container == container and line.at >= since and rfc3339(line.at) >= start
        ]
        text = "".join(f"{line}\n" for line in lines[-tail:])
        limit = _number(asked, "LimitBytes", default=1 << 20, most=1 << 20)
        return {"ContainerName": container, "Content": text.encode()[:limit].decode()}

    def _execute(self, asked: Asked, now: float) -> Answer:
        group = self._one(asked, now)
        _container(group, asked)
        if group.status(now) != "Running":
            raise Refusal("OperationDenied.Status", "The container group is not running.")
        command = json.loads(asked.get("Command", "[]"))
        if not 0 < len(command) <= 20 or any(len(word) > 256 for word in command):
            raise invalid("Command", "The command has too many words or a word is too long.")
        session = uuid.uuid4().hex
        self.sessions[session] = (group, {**asked, "Command": command}, now + EXEC_WAITS)
        return {"Session": session}

    def _price(self, asked: Asked, _: float) -> Answer:
        kind = asked.get("InstanceType")
        if kind is not None and kind not in PRICES:
            raise invalid("InstanceType", "The instance type is unknown.")
        size = 0.35 * float(asked.get("Cpu", 0)) + 0.04 * float(asked.get("Memory", 0))
        price = PRICES[kind] if kind else size
        shown = {"Currency": "CNY", "OriginalPrice": price, "DiscountPrice": 0, "TradePrice": price}
        spot: list[Answer] = []
        if asked.get("SpotStrategy", "NoSpot") != "NoSpot":
            zone = f"{self._region}-a"
            each = {"ZoneId": zone, "InstanceType": kind or "", "OriginPrice": price}
            spot.append({**each, "SpotPrice": price / 5})
        return {"PriceInfo": {"Price": shown, "SpotPrices": {"SpotPrice": spot}}}

    def _stock(self, asked: Asked, _: float) -> Answer:
        wanted = asked.get("DestinationResource", {})
        if wanted.get("Category") != "InstanceType":
            raise invalid("DestinationResource", "Only instance types are emulated.")
        kind = wanted.get("Value", "")
        gone = {"*", kind} & self._faults.no_stock
        item = {"Value": kind, "StatusCategory": "WithoutStock" if gone else "WithStock"}
        resource = {"Type": "InstanceType", "SupportedResources": {"SupportedResource": [item]}}
        zone = {
            "RegionId": self._region,
            "ZoneId": f"{self._region}-a",
            "AvailableResources": {"AvailableResource": [resource]},
        }
        return {"AvailableZones": {"AvailableZone": [zone]}}

    def _usage(self, _: Asked, now: float) -> Answer:
        return {"Attributes": {"UsedCpu": self._used(now), "MaxCpu": self._faults.max_cpu}}

    def _used(self, now: float) -> float:
        return sum(g.cpu for g in self._groups.at(now) if g.status(now) not in FINAL)

    def _page(self, found: Iterable[Group], asked: Asked, *, most: int) -> tuple[list[Group], str]:
        return _page(found, asked, most=most, shorter=self._faults.page)

    def _one(self, asked: Asked, now: float) -> Group:
        name = asked.get("ContainerGroupId")
        if not name:
            raise missing("ContainerGroupId")
        group = self._groups.get(name, now)
        if group is None:
            raise Refusal("ContainerGroup.NotFound", "No such container group.", status=404)
        return group

    def _selected(self, asked: Asked, now: float) -> list[Group]:
        if self._faults.blind:
            return []
        ids = json.loads(asked.get("ContainerGroupIds", "null"))
        if ids is not None and len(ids) > 20:
            raise invalid("ContainerGroupIds", "There are more than 20 ids.")
        tags = {tag["Key"]: tag.get("Value") for tag in asked.get("Tag", ())}
        return [
            group
            for group in self._groups.at(now)
            if (ids is not None or now - group.created >= self._faults.unseen)
            and (ids is None or group.id in ids)
            and _has(group, tags)
        ]


def _has(group: Group, tags: dict[str, str | None]) -> bool:
    return all(
        key in group.tags and value in {None, group.tags[key]} for key, value in tags.items()
    )


def _container(group: Group, asked: Asked) -> str:
    name = asked.get("ContainerName")
    inside = [*group.asked["Container"], *group.asked.get("InitContainer", ())]
    if name not in {container["Name"] for container in inside}:
        raise invalid("ContainerName", "The group has no such container.")
    return str(name)


def _number(asked: Asked, name: str, *, default: int, least: int = 1, most: int = 10**9) -> int:
    try:
        number = int(asked.get(name, default))
    except ValueError:
        raise invalid(name, "It is no number.") from None
    if not least <= number <= most:
        raise invalid("ValueExceeded", f"{name} is not in {least}..{most}.")
    return number


def _since(asked: Asked) -> float:
    """Seconds to look back: the OpenAPI metadata says 60 to 3,600."""
    if "SinceSecond" not in asked:
        return 1e9
    return _number(asked, "SinceSecond", default=60, least=60, most=3600)


def _page(
    found: Iterable[Group], asked: Asked, *, most: int, shorter: int
) -> tuple[list[Group], str]:
    """Pages go by the last id seen, so that what is made or deleted meanwhile moves nobody."""
    after = ""
    if token := asked.get("NextToken"):
        try:
            after = base64.urlsafe_b64decode(token).decode()
        except ValueError:
            raise invalid("NextToken", "The token is not one of ours.") from None
    limit = _number(asked, "Limit", default=most, most=most)
    limit = min(limit, shorter or limit)
    rest = [group for group in found if group.id > after]
    page = rest[:limit]
    more = len(rest) > limit
    return page, base64.urlsafe_b64encode(page[-1].id.encode()).decode() if more else ""

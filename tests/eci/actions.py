"""The actions: nested parameters in, the JSON of the answer out, or a Refusal.

Owned by the server, which has checked the signature and counted the call.
"""

import base64
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.eci.asking import identifiers, is_true, number, required, since
from tests.eci.catalog import Bought, bought
from tests.eci.creation import check_command, check_create
from tests.eci.faults import Faults
from tests.eci.groups import FINAL, Group, Groups
from tests.eci.logs import content
from tests.eci.market import price, stock
from tests.eci.refusal import Refusal, invalid
from tests.eci.views import shown_events, shown_group, shown_status

Asked = dict[str, Any]
Answer = dict[str, Any]

WRITES = frozenset(
    {
        "CreateContainerGroup",
        "DeleteContainerGroup",
        "RestartContainerGroup",
        "TagResources",
        "UntagResources",
    }
)
EXEC_WAITS = 30.0
"""Seconds in which the address of an exec session may be opened."""
_LISTED_TAGS = 10


@dataclass(frozen=True)
class Exec:
    """A session that waits to be opened, until `until`, or a command whose output is the answer."""

    group: Group
    container: str
    command: list[str]
    tty: bool
    stdin: bool
    sync: bool
    until: float


class Actions:
    """One region of one account."""

    def __init__(
        self,
        groups: Groups,
        faults: Faults,
        *,
        region: str,
        vswitches: Mapping[str, str] | None = None,
    ) -> None:
        """`vswitches` has the zone of each; without it any name is in the first zone."""
        self._groups = groups
        self._faults = faults
        self._region = region
        self._vswitches = vswitches
        self._maker = ""
        self.sessions: dict[str, Exec] = {}
        self._actions: dict[str, Callable[[Asked, float], Answer]] = {
            "CreateContainerGroup": self._create,
            "DeleteContainerGroup": self._delete,
            "DescribeAvailableResource": self._stock,
            "DescribeContainerGroupEvents": self._events,
            "DescribeContainerGroupPrice": lambda asked, _: price(asked, region=region),
            "DescribeContainerGroupStatus": self._statuses,
            "DescribeContainerGroups": self._describe,
            "DescribeContainerLog": self._log,
            "DescribeRegions": self._regions,
            "ExecContainerCommand": self._execute,
            "ListTagResources": self._list_tags,
            "ListUsage": self._usage,
            "RestartContainerGroup": self._restart,
            "TagResources": self._tag,
            "UntagResources": self._untag,
        }

    @property
    def zones(self) -> list[str]:
        """All zones of the region."""
        named = set(self._vswitches.values()) if self._vswitches else set()
        return sorted(named | {f"{self._region}-a", f"{self._region}-b"})

    def carry_out(self, action: str, asked: Asked, now: float, *, maker: str) -> Answer:
        """Do it for the key `maker` and return the answer."""
        handler = self._actions.get(action)
        if handler is None:
            raise Refusal("InvalidAction.NotFound", "Specified api is not found.", status=404)
        if required(asked, "RegionId") != self._region:
            raise Refusal("InvalidRegionId.NotFound", "The region does not exist.", status=404)
        if refusal := self._faults.due(action):
            raise refusal
        self._maker = maker
        return handler(asked, now)

    def _create(self, asked: Asked, now: float) -> Answer:
        check_create(asked, privileged=self._faults.privileged)
        wanted = bought(asked)
        token = asked.get("ClientToken", "")
        if token and (earlier := self._groups.by_token(token)):
            earlier.repeats += 1
            if earlier.asked != asked:
                raise Refusal(
                    "IdempotentParameterMismatch", "The token was used with other parameters."
                )
            return {"ContainerGroupId": earlier.id}
        paid, zone = self._place(wanted, self._zones_for(asked))
        if self._used(now) + paid.cpu > self._faults.max_cpu:
            raise Refusal("QuotaExceeded", "vCPU quota exceeded.", status=403)
        if is_true(asked, "DryRun"):
            raise Refusal("DryRunOperation", "Request validation has been passed with DryRun.")
        made = self._groups.create(asked, now, token=token, maker=self._maker, paid=paid, zone=zone)
        return {"ContainerGroupId": made.id}

    def _zones_for(self, asked: Asked) -> list[str]:
        zones = []
        for vswitch in filter(None, asked.get("VSwitchId", "").split(",")):
            if self._vswitches is not None and vswitch not in self._vswitches:
                raise Refusal("InvalidVSwitchId.NotFound", "The vSwitch is unknown.", status=404)
            zones.append((self._vswitches or {}).get(vswitch, f"{self._region}-a"))
        zone = asked.get("ZoneId")
        if zone and zone not in self.zones:
            raise Refusal("InvalidZoneId.NotFound", "The zone does not exist.", status=404)
        if zone and zones and zone not in zones:
            said = "The specified VSwitchId is not in the specified Zone."
            raise Refusal("OperationDenied.VswZoneMisMatch", said, status=403)
        return [zone] if zone else zones or [f"{self._region}-a"]

    def _place(self, wanted: list[Bought], zones: list[str]) -> tuple[Bought, str]:
        for one in wanted:
            for zone in zones:
                if not self._faults.sold_out(one.type, zone):
                    return one, zone
        raise Refusal(
            "OperationDenied.NoStock",
            "Sales of this resource are temporarily suspended in the specified zone.",
            status=403,
        )

    def _delete(self, asked: Asked, now: float) -> Answer:
        self._one(asked, now).life.delete(now)
        return {}

    def _restart(self, asked: Asked, now: float) -> Answer:
        group = self._one(asked, now)
        if group.status(now) not in {"Pending", "Running"}:
            raise Refusal("IncorrectStatus", "Only a pending or running one can be restarted.")
        group.life.restart(now)
        return {}

    def _describe(self, asked: Asked, now: float) -> Answer:
        found = [
            group
            for group in self._selected(asked, now)
            if asked.get("Status") in {None, group.status(now)}
            and asked.get("ContainerGroupName") in {None, group.asked["ContainerGroupName"]}
        ]
        page, token = self._page(found, asked, most=20)
        shown = [shown_group(one, now, events=is_true(asked, "WithEvent")) for one in page]
        return {"ContainerGroups": shown, "NextToken": token, "TotalCount": len(found)}

    def _statuses(self, asked: Asked, now: float) -> Answer:
        start = since(asked, now)
        found = [g for g in self._selected(asked, now) if g.life.changed >= start]
        page, token = self._page(found, asked, most=200)
        shown = [shown_status(group, now) for group in page]
        return {"Data": shown, "NextToken": token, "TotalCount": len(found)}

    def _events(self, asked: Asked, now: float) -> Answer:
        start, source = since(asked, now), asked.get("EventSource", "")
        if source not in {"", "EciService", "K8sAgent"}:
            raise invalid("EventSource", "It is none of EciService and K8sAgent.")
        page, _ = self._page(self._selected(asked, now), asked, most=200)
        shown = [shown_events(group, since=start, source=source) for group in page]
        return {"Data": shown, "TotalCount": sum(len(one["Events"]) for one in shown)}

    def _log(self, asked: Asked, now: float) -> Answer:
        group = self._one(asked, now)
        name = _container(group, asked)
        lines = group.engine.log(name, previous=is_true(asked, "LastTime"))
        return {"ContainerName": name, "Content": content(lines, asked, now)}

    def _execute(self, asked: Asked, now: float) -> Answer:
        group = self._one(asked, now)
        name = _container(group, asked)
        command = check_command(required(asked, "Command"))
        running = {one.name for one in group.life.everyone if one.running}
        if group.status(now) != "Running" or name not in running:
            raise Refusal("IncorrectStatus", "The container is not running.")
        sync, tty = is_true(asked, "Sync"), is_true(asked, "TTY")
        if sync and tty:
            raise invalid("TTY", "It cannot be true with Sync.")
        session = uuid.uuid4().hex
        self.sessions[session] = Exec(
            group=group,
            container=name,
            command=command,
            tty=tty,
            stdin=is_true(asked, "Stdin", default=True) and not sync,
            sync=sync,
            until=now + EXEC_WAITS,
        )
        return {"Session": session}

    def _stock(self, asked: Asked, _: float) -> Answer:
        zones = [asked["ZoneId"]] if asked.get("ZoneId") else self.zones
        return stock(asked, region=self._region, zones=zones, faults=self._faults)

    def _usage(self, _: Asked, now: float) -> Answer:
        return {"Attributes": {"UsedCpu": self._used(now), "MaxCpu": self._faults.max_cpu}}

    def _regions(self, _: Asked, __: float) -> Answer:
        return {"Regions": [{"RegionId": self._region, "Zones": self.zones}]}

    def _tag(self, asked: Asked, now: float) -> Answer:
        for group in self._resources(asked, now):
            tags = group.tags | {tag["Key"]: tag.get("Value", "") for tag in asked.get("Tag", ())}
            group.retag(tags)
        return {}

    def _untag(self, asked: Asked, now: float) -> Answer:
        gone = set(asked.get("TagKey", ()))
        for group in self._resources(asked, now):
            kept = {
                k: v for k, v in group.tags.items() if not is_true(asked, "All") and k not in gone
            }
            group.retag(kept)
        return {}

    def _list_tags(self, asked: Asked, now: float) -> Answer:
        ids = set(asked.get("ResourceId", ()))
        found = [one for one in self._selected(asked, now) if not ids or one.id in ids]
        page, token = self._page(found, asked, most=50)
        shown = [
            {"ResourceId": one.id, "ResourceType": "ALIYUN::ECI::CONTAINERGROUP"}
            | {"TagKey": key, "TagValue": value}
            for one in page
            for key, value in one.tags.items()
        ]
        return {"TagResources": shown, "NextToken": token}

    def _resources(self, asked: Asked, now: float) -> list[Group]:
        return [self._named(name, now) for name in required(asked, "ResourceId")]

    def _used(self, now: float) -> float:
        return sum(g.cpu for g in self._groups.at(now) if g.status(now) not in FINAL)

    def _one(self, asked: Asked, now: float) -> Group:
        return self._named(required(asked, "ContainerGroupId"), now)

    def _named(self, name: str, now: float) -> Group:
        group = self._groups.get(name, now)
        if group is None:
            raise Refusal("ContainerGroup.NotFound", "No such container group.", status=404)
        return group

    def _selected(self, asked: Asked, now: float) -> list[Group]:
        if self._faults.blind:
            return []
        ids = identifiers(asked)
        if len(asked.get("Tag", ())) > _LISTED_TAGS:
            raise invalid("Tag", f"There are more than {_LISTED_TAGS} tags.")
        tags = {tag["Key"]: tag.get("Value") for tag in asked.get("Tag", ())}
        return [
            group
            for group in self._groups.at(now)
            if (ids is not None or now - group.created >= self._faults.unseen)
            and (ids is None or group.id in ids)
            and asked.get("ZoneId") in {None, group.zone}
            and _has(group, tags)
        ]

    def _page(self, found: Iterable[Group], asked: Asked, *, most: int) -> tuple[list[Group], str]:
        """Pages go by the last id seen, so that what is made or deleted meanwhile moves nobody."""
        after = ""
        if token := asked.get("NextToken"):
            try:
                after = base64.urlsafe_b64decode(token).decode()
            except ValueError:
                raise invalid("NextToken", "The token is not one of ours.") from None
        limit = number(asked, "Limit", default=most, most=most)
        limit = min(limit, self._faults.page or limit)
        rest = [group for group in found if group.id > after]
        page = rest[:limit]
        more = len(rest) > limit
        return page, base64.urlsafe_b64encode(page[-1].id.encode()).decode() if more else ""


def _has(group: Group, tags: Mapping[str, str | None]) -> bool:
    return all(
        key in group.tags and value in {None, group.tags[key]} for key, value in tags.items()
    )


def _container(group: Group, asked: Asked) -> str:
    name = required(asked, "ContainerName")
    if name not in {container.name for container in group.life.everyone}:
        raise invalid("ContainerName", "The group has no such container.")
    return str(name)

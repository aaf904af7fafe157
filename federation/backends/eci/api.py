"""The ECI API of one account and region: typed calls, paged listings, one budget for all of them.

In: parameters as the API names them. Out: the structs of `answers`, or an error of the tree in
`errors`. Only calls that the service threw back as too many are repeated here, a few times and
after the budget has shrunk: they were certainly not carried out. Everything else goes to the
caller, who has a queue with backoff; a create is repeated with the same ClientToken and then
returns the group that the first call made. Owned by whoever made it; `close` ends it.
"""

import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import structlog

from federation.backends.eci import envelopes
from federation.backends.eci.answers import (
    AvailableZone,
    ExecSession,
    Group,
    GroupEvents,
    GroupStatus,
    Illegible,
    Price,
)
from federation.backends.eci.budget import Budget
from federation.backends.eci.errors import AnswerTooLarge, Throttled, Unavailable
from federation.backends.eci.parameters import Parameter, Parameters, flatten
from federation.backends.eci.reading import read
from federation.backends.eci.refusals import refusal
from federation.backends.eci.signature import AccessKey, sign
from federation.backends.eci.transport import WRITES, Socket, Transport
from federation.backends.eci.turns import Turns
from vnode.kube.permit import Permit
from vnode.runtime.clock import Clock

__all__ = ["EciApi"]

_LOG = structlog.get_logger(__name__)

T = TypeVar("T")
P = TypeVar("P", envelopes.Groups, envelopes.Statuses)

_TRIES = 6
"""Calls at most, of which all but the last were throttled."""
_IDS = 20
"""Container groups that one call may name."""
_SINCE_LEAST, _SINCE_MOST = 60, 3600
_PAGES = 10_000
"""Pages of one listing, at most: the end of a service that always has a next token."""
_ODD = 1000
"""Items that cannot be read of which the log has said so, at most."""


class EciApi:
    """Calls for one account in one region."""

    def __init__(
        self,
        transport: Transport,
        *,
        key: Callable[[], AccessKey],
        region: str,
        budget: Budget,
        clock: Clock,
        nonce: Callable[[], str],
    ) -> None:
        """`key` is asked for each call, since keys of STS expire; `nonce` never repeats itself."""
        self._transport = transport
        self._key = key
        self._region = region
        self._budget = budget
        self._clock = clock
        self._nonce = nonce
        self._may_write: Permit | None = None
        """Whether calls that change something may be sent now; None: always."""
        self._patient = True
        """Calls wait for the budget."""
        self._odd: set[str] = set()
        """Items that cannot be read, of which the log has said so."""

    def guarded(self, may_write: Permit) -> "EciApi":
        """The same connections and budget for who may write only while `may_write()` is true.

        Calls that change something then raise Withheld instead of being sent.
        """
        other = copy(self)
        other._may_write = may_write
        return other

    def hasty(self) -> "EciApi":
        """The same for who cannot wait until the budget has room: it gets Throttled at once."""
        other = copy(self)
        other._patient = False
        return other

    def turns(self, action: str, *, what: str) -> Turns:
        """A line before an action, by the budget of all calls; for `what` see `Turns`."""
        return Turns(self._budget, action, what=what, clock=self._clock)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def create(self, group: Parameters, *, token: str) -> str:
        """Create a container group and return its id.

        With the `token` (at most 64 ASCII characters) of an earlier create it returns the group
        that the earlier one made. Raises TokenReused if that one asked for something else.
        """
        answer = await self._call(
            "CreateContainerGroup", {**group, "ClientToken": token}, into=envelopes.Created
        )
        return answer.container_group_id

    async def delete(self, group: str) -> None:
        """Delete a container group. Raises NotFound when it is gone already."""
        await self._call(
            "DeleteContainerGroup", {"ContainerGroupId": group}, into=envelopes.Nothing
        )

    async def restart(self, group: str) -> None:
        """Start all containers of a group anew."""
        await self._call(
            "RestartContainerGroup", {"ContainerGroupId": group}, into=envelopes.Nothing
        )

    async def groups(
        self,
        *,
        ids: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        name: str = "",
        status: str = "",
    ) -> AsyncIterator[Group]:
        """Yield container groups, 20 a call. For finding orphans, not for following states.

        `name`: of the group, which several may have; whoever made one cannot change it.

        Of one that cannot be read there is the id alone, so that nobody takes it for absent.

        A key without the right to list gets an empty list and no error, so that absence here is no
        proof that a group does not exist.
        """
        asked = _selection(tags) | ({"ContainerGroupName": name} if name else {})
        asked |= {"Status": status} if status else {}
        for some in _batches(ids):
            parameters, action = {**asked, **some}, "DescribeContainerGroups"
            async for page in self._pages(action, parameters, into=envelopes.Groups, limit=20):
                for item in page.container_groups:
                    yield self._item(item, into=Group, action=action) or Group(_id(item, action))

    async def statuses(
        self,
        *,
        ids: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        since: float | None = None,
    ) -> AsyncIterator[GroupStatus]:
        """Yield the states of container groups, 200 a call; `Illegible` is what cannot be read.

        With `since` only those whose state changed in so many seconds before the service's now;
        ask for some more than passed, since clocks differ. The service takes 60 to 3,600: what is
        less asks for 60, what is more for everything. What `groups` says of absence holds.
        """
        asked = _selection(tags)
        if since is not None and since <= _SINCE_MOST:
            asked["SinceSecond"] = max(_SINCE_LEAST, math.ceil(since))
        for some in _batches(ids):
            parameters, action = {**asked, **some}, "DescribeContainerGroupStatus"
            async for page in self._pages(action, parameters, into=envelopes.Statuses, limit=200):
                for item in page.data:
                    found = self._item(item, into=GroupStatus, action=action)
                    yield found or Illegible(_id(item, action))

    async def events(self, ids: Sequence[str]) -> list[GroupEvents]:
        """Return the events of these container groups."""
        found: list[GroupEvents] = []
        for some in _batches(ids) if ids else ():
            action = "DescribeContainerGroupEvents"
            page = await self._call(action, some, into=envelopes.Events)
            read_here = (self._item(item, into=GroupEvents, action=action) for item in page.data)
            found += [each for each in read_here if each is not None]
        return found

    async def log(
        self,
        group: str,
        container: str,
        *,
        tail: int = 500,
        since: str = "",
        timestamps: bool = False,
        previous: bool = False,
    ) -> str:
        """Return the last `tail` lines (at most 2000, 1 MiB) since the RFC 3339 time `since`."""
        asked: dict[str, Parameter] = {
            "ContainerGroupId": group,
            "ContainerName": container,
            "Tail": tail,
            "StartTime": since or None,
            "Timestamps": timestamps,
            "LastTime": previous,
        }
        return (await self._call("DescribeContainerLog", asked, into=envelopes.Log)).content

    async def execute(
        self, group: str, container: str, command: Sequence[str], *, tty: bool, stdin: bool
    ) -> ExecSession:
        """Prepare a command's session: its websocket is to be opened within 30 s."""
        asked: dict[str, Parameter] = {
            "ContainerGroupId": group,
            "ContainerName": container,
            "Command": json.dumps(list(command)),
            "TTY": tty,
            "Stdin": stdin,
            "Sync": False,
        }
        return await self._call("ExecContainerCommand", asked, into=ExecSession)

    async def open_socket(self, session: ExecSession) -> Socket:
        """Open the websocket of a command's session. Raises Unavailable."""
        return await self._transport.open_socket(session.web_socket_uri)

    async def price(self, asked: Parameters) -> Price:
        """Return what a size (`Cpu` and `Memory` in GiB, or `InstanceType`) costs an hour."""
        info = (
            await self._call("DescribeContainerGroupPrice", asked, into=envelopes.Prices)
        ).price_info
        return Price(
            currency=info.price.currency,
            trade_price=info.price.trade_price,
            original_price=info.price.original_price,
            spot=info.spot_prices.spot_price,
        )

    async def stock(self, instance_type: str) -> list[AvailableZone]:
        """Return the zones that know this instance type, and whether they have it."""
        wanted = {"Category": "InstanceType", "Value": instance_type}
        answer = await self._call(
            "DescribeAvailableResource", {"DestinationResource": wanted}, into=envelopes.Stock
        )
        return [
            AvailableZone(
                zone=zone.zone_id,
                stock={
                    item.value: item.status_category
                    for resource in zone.available_resources.available_resource
                    for item in resource.supported_resources.supported_resource
                },
            )
            for zone in answer.available_zones.available_zone
        ]

    async def usage(self) -> dict[str, float]:
        """Return the account's limits and what is used of them, such as MaxCpu and UsedCpu."""
        answer = await self._call("ListUsage", {}, into=envelopes.Usage)
        numbers: dict[str, float] = {}
        for name, value in answer.attributes.items():
            # Privileges stand among them, as texts or objects of an undocumented form.
            with contextlib.suppress(msgspec.ValidationError):
                numbers[name] = msgspec.json.decode(value, type=float, strict=False)
        return numbers

    async def _pages(
        self, action: str, asked: Parameters, *, into: type[P], limit: int
    ) -> AsyncIterator[P]:
        """Yield all pages, from where one is too large with fewer items on each."""
        token: str | None = None
        for _ in range(_PAGES):
            try:
                page = await self._call(
                    action, {**asked, "Limit": limit, "NextToken": token}, into=into
                )
            except AnswerTooLarge:
                if limit == 1:
                    raise
                limit = max(1, limit // 4)
                continue
            yield page
            token = page.next_token
            if not token:
                return
        raise Unavailable(f"{action}: pages without end")

    def _item(self, item: msgspec.Raw, *, into: type[T], action: str) -> T | None:
        """One item of a list; None: it cannot be read, which hides no other."""
        try:
            return read(item, into)
        except msgspec.DecodeError as error:
            group = _id(item, action)
            if group not in self._odd and len(self._odd) < _ODD:
                self._odd.add(group)
                _LOG.warning("a group cannot be read", action=action, group=group, why=str(error))
            return None

    async def _call(
        self, action: str, parameters: Parameters, *, into: type[T], timeout: float = 30.0
    ) -> T:
        flat = flatten({**parameters, "RegionId": self._region})
        deadline = self._clock.monotonic() + timeout
        for left in reversed(range(_TRIES)):
            patience = deadline - self._clock.monotonic() if self._patient else 0.0
            await self._budget.take(action, patience=patience)
            try:
                body = await self._once(
                    action, flat, timeout=max(1.0, deadline - self._clock.monotonic())
                )
            except Throttled:
                self._budget.throttled(action)
                if not left:
                    raise
                continue
            self._budget.answered(action)
            try:
                return read(body, into)
            except msgspec.DecodeError as error:
                # The words of msgspec name a field's place, never its value.
                raise Unavailable(f"{action}: an answer that cannot be read: {error}") from None
        raise AssertionError("the last try returns or raises")

    async def _once(self, action: str, flat: Mapping[str, str], *, timeout: float) -> bytes:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        call = sign(
            flat,
            key=self._key(),
            host=self._transport.host,
            action=action,
            date=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            nonce=self._nonce(),
        )
        permit = self._may_write if action in WRITES else None
        answer = await self._transport.send(call, timeout=timeout, permit=permit)
        if 200 <= answer.status < 300:
            return answer.body
        raise refusal(action, answer.status, answer.body, sent=flat)


def _id(item: msgspec.Raw, action: str) -> str:
    try:
        return read(item, envelopes.Named).container_group_id
    except msgspec.DecodeError:
        raise Unavailable(f"{action}: an item of which not even the id can be read") from None


def _selection(tags: Mapping[str, str] | None) -> dict[str, Parameter]:
    return {"Tag": [{"Key": k, "Value": v} for k, v in (tags or {}).items()]}


def _batches(ids: Sequence[str]) -> list[dict[str, Parameter]]:
    if not ids:
        return [{}]
    return [
        {"ContainerGroupIds": json.dumps(list(ids[start : start + _IDS]))}
        for start in range(0, len(ids), _IDS)
    ]

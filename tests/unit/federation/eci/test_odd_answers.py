"""Answers of another form than the service's documents give: one odd item hides no other."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from federation.backends.eci.answers import Illegible
from federation.backends.eci.api import EciApi
from federation.backends.eci.budget import Budget
from federation.backends.eci.copies import Copies
from federation.backends.eci.errors import AnswerTooLarge, Unavailable
from federation.backends.eci.signature import Signed
from federation.backends.eci.translate.identity import Identity
from federation.backends.eci.transport import Answer, Socket
from tests.builders import NODE, UID_1, make_key
from tests.eci.connecting import KEY
from tests.fakes.clock import SteppedClock
from vnode.kube.permit import Permit

RUNNING = {"ContainerGroupId": "eci-2", "Status": "Running"}


class Canned:
    """A transport that answers by what was asked for."""

    host = "eci.example"

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self.asked: list[str] = []
        self._answer = answer

    async def send(self, call: Signed, *, timeout: float, permit: Permit | None = None) -> Answer:
        self.asked.append(call.query)
        return Answer(200, json.dumps(self._answer(call.query)).encode())

    async def open_socket(self, url: str) -> Socket:
        raise Unavailable("there are no sockets here")

    async def close(self) -> None:
        """Nothing is open."""


def made(transport: Canned) -> EciApi:
    clock, numbers = SteppedClock(), itertools.count()
    return EciApi(
        transport,
        key=lambda: KEY,
        region="cn-beijing",
        budget=Budget(clock=clock),
        clock=clock,
        nonce=lambda: f"nonce-{next(numbers)}",
    )


def answering(**page: Any) -> EciApi:
    return made(Canned(lambda _: page))


@pytest.mark.parametrize(
    "below",
    [
        {"Conditions": None, "ContainerStatuses": None},
        {"ContainerStatuses": [{"Name": "m", "State": {"Waiting": {"Message": None}}}, None]},
        {"Phase": None, "StartTime": None},
    ],
)
async def test_a_null_counts_as_left_out(below: dict[str, Any]) -> None:
    odd = {"ContainerGroupId": "eci-1", "Status": "Pending", "PodStatus": below}
    api = answering(Data=[odd, RUNNING])

    assert [one.status async for one in api.statuses()] == ["Pending", "Running"]


async def test_a_state_that_cannot_be_read_hides_no_other_and_is_there() -> None:
    odd = {"ContainerGroupId": "eci-1", "PodStatus": {"Conditions": "none"}}
    api = answering(Data=[odd, RUNNING])

    with capture_logs() as logs:
        for _ in range(2):
            seen = [one async for one in api.statuses()]

    assert [(one.container_group_id, type(one) is Illegible) for one in seen] == [
        ("eci-1", True),
        ("eci-2", False),
    ]
    assert [line["event"] for line in logs] == ["a group cannot be read"]


async def test_a_group_that_cannot_be_read_is_listed_without_tags() -> None:
    odd = {"ContainerGroupId": "eci-1", "Tags": "none"}
    api = answering(ContainerGroups=[odd, {"ContainerGroupId": "eci-2"}])

    with capture_logs():
        seen = [one async for one in api.groups()]

    assert [(one.container_group_id, one.tags) for one in seen] == [("eci-1", ()), ("eci-2", ())]


async def test_events_that_cannot_be_read_are_left_out() -> None:
    api = answering(
        Data=[
            {"ContainerGroupId": "eci-1", "Events": "none"},
            {"ContainerGroupId": "eci-2", "Events": [{"Reason": "Started", "Message": None}]},
        ]
    )

    with capture_logs():
        [found] = await api.events(["eci-1", "eci-2"])

    assert [event.reason for event in found.events] == ["Started"]


async def test_an_item_without_an_id_makes_a_list_that_proves_nothing() -> None:
    api = answering(Data=[{"Status": "Running"}])

    with pytest.raises(Unavailable, match="not even the id"):
        [one async for one in api.statuses()]


async def test_a_list_without_items_may_be_null() -> None:
    assert [one async for one in answering(Data=None).statuses()] == []


async def test_a_page_that_is_too_large_is_asked_for_in_parts() -> None:
    def answer(query: str) -> Any:
        if "Limit=200" in query:
            raise AnswerTooLarge("more than we take")
        more = {} if "NextToken" in query else {"NextToken": "t"}
        return {"Data": [RUNNING], **more}

    transport = Canned(answer)

    assert len([one async for one in made(transport).statuses()]) == 2
    assert ["Limit=50" in query for query in transport.asked] == [False, True, True]


async def test_an_item_that_is_too_large_alone_is_no_answer() -> None:
    def answer(_: str) -> Any:
        raise AnswerTooLarge("more than we take")

    transport = Canned(answer)

    with pytest.raises(Unavailable):
        [one async for one in made(transport).statuses()]
    assert len(transport.asked) == 5


async def test_who_cannot_be_read_any_more_keeps_its_last_state() -> None:
    copies = Copies()
    who = Identity(make_key(), UID_1, NODE, "d1", 1)
    copies.learn("eci-2", who, made_at=None, listed=False)
    [running] = [one async for one in answering(Data=[RUNNING]).statuses()]
    copies.saw(running, now="2027-01-15T08:00:00Z", at=0.0)
    before = copies.observed(who.key)

    assert not copies.saw(Illegible("eci-2"), now="2027-01-15T08:00:02Z", at=2.0)

    assert copies.observed(who.key) == before
    group = copies.get("eci-2")
    assert group is not None
    assert group.listed

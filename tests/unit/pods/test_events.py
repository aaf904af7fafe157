"""Events on tenant pods: said once, counted when repeated, never in the way."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.builders import NODE, UID_1, UID_2, make_error, make_pod, make_uid
from tests.fakes.client import Body, RecordingClient
from tests.fakes.clock import LoopClock
from vnode.backend import PodEvent
from vnode.kube.resources import EVENTS
from vnode.kube.types import UID, ObjectKey
from vnode.pods.events import EventRecorder
from vnode.pods.view import view

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team-a", "job-0")


class Recording:
    """A recorder with its writer, and what it wrote."""

    def __init__(self, client: RecordingClient | None = None) -> None:
        clock = LoopClock()
        self.client = client or RecordingClient(unix_time=clock.time)
        self.recorder = EventRecorder(self.client.client, clock=clock)

    def say(
        self,
        reason: str = "QuotaExceeded",
        message: str = "full",
        *,
        key: ObjectKey = KEY,
        uid: UID = UID_1,
    ) -> None:
        self.recorder.record(key, uid, node=NODE, type="Warning", reason=reason, message=message)

    @property
    def events(self) -> list[Body]:
        return [body for (plural, _), body in self.client.objects.items() if plural == "events"]


@contextlib.asynccontextmanager
async def writing(recording: Recording) -> AsyncIterator[Recording]:
    task = asyncio.ensure_future(recording.recorder.run())
    yield recording
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
async def recording() -> AsyncIterator[Recording]:
    async with writing(Recording()) as made:
        yield made


async def test_it_says_what_happened_to_which_pod(recording: Recording) -> None:
    recording.say()
    await asyncio.sleep(1)
    (event,) = recording.events
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "team-a",
        "name": "job-0",
        "uid": UID_1,
    }
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "QuotaExceeded",
        "full",
    )
    assert event["source"] == {"component": "vnode", "host": NODE}
    assert event["count"] == 1


@pytest.mark.parametrize(("by_kubelet", "component"), [(True, "kubelet"), (False, "vnode")])
async def test_what_a_kubelet_below_said_is_said_by_the_virtual_node_s(
    recording: Recording, by_kubelet: bool, component: str
) -> None:
    said = PodEvent(KEY, UID_1, NODE, "Normal", "Started", "it runs", by_kubelet=by_kubelet)
    recording.recorder.relay(view(make_pod()), said)
    await asyncio.sleep(1)
    (event,) = recording.events
    assert event["source"] == {"component": component, "host": NODE}
    assert event["reportingComponent"] == component
    assert event["reason"] == "Started"


async def test_what_is_repeated_within_five_minutes_costs_no_call(
    recording: Recording,
) -> None:
    for _ in range(100):
        recording.say()
        await asyncio.sleep(2.9)
    assert recording.client.names() == ["create events"]


async def test_what_is_repeated_later_raises_the_count_of_the_same_event(
    recording: Recording,
) -> None:
    for _ in range(5):
        recording.say()
        await asyncio.sleep(310)
    (event,) = recording.events
    assert event["count"] == 5
    assert event["lastTimestamp"] > event["firstTimestamp"]


async def test_other_words_are_another_event(recording: Recording) -> None:
    recording.say(message="full")
    recording.say(message="fuller")
    recording.say(reason="Other")
    recording.say(uid=UID_2)
    await asyncio.sleep(1)
    assert len(recording.events) == 4


async def test_a_restart_goes_on_with_the_same_event() -> None:
    async with writing(Recording()) as before:
        for _ in range(4):
            before.say()
            await asyncio.sleep(310)
    async with writing(Recording(before.client)) as after:
        after.say()
        await asyncio.sleep(1)
        (event,) = after.events
        assert event["count"] == 5
        await asyncio.sleep(310)
        after.say()
        await asyncio.sleep(1)
        assert after.events[0]["count"] == 6


async def test_an_event_that_expired_is_made_again(recording: Recording) -> None:
    recording.say()
    await asyncio.sleep(310)
    recording.client.drop(EVENTS, ObjectKey("team-a", recording.events[0]["metadata"]["name"]))
    recording.say()
    await asyncio.sleep(1)
    assert len(recording.events) == 1


async def test_whatever_changes_an_event_names_it_by_uid() -> None:
    async with writing(Recording()) as before:
        for _ in range(2):
            before.say()
            await asyncio.sleep(310)
    async with writing(Recording(before.client)) as after:
        after.say()
        await asyncio.sleep(1)
    (event,) = after.events
    changes = after.client.named("patch events")
    assert [call.body["count"] for call in changes] == [2, 3]
    assert {call.body["metadata"]["uid"] for call in changes} == {event["metadata"]["uid"]}


async def test_what_was_said_before_a_restart_costs_one_write() -> None:
    async with writing(Recording()) as before:
        before.say()
        await asyncio.sleep(1)
    before.client.calls.clear()
    async with writing(Recording(before.client)) as after:
        after.say()
        await asyncio.sleep(1)
    assert after.client.names() == ["create events", "get events", "patch events"]


async def test_an_event_that_others_made_anew_goes_on_with_theirs(recording: Recording) -> None:
    recording.say()
    await asyncio.sleep(310)
    (event,) = recording.events
    key = ObjectKey("team-a", event["metadata"]["name"])
    recording.client.drop(EVENTS, key)
    another = {**event, "metadata": {**event["metadata"], "uid": UID_2}, "count": 7}
    recording.client.put(EVENTS, another)
    recording.say()
    await asyncio.sleep(1)
    assert recording.events[0]["count"] == 9
    await asyncio.sleep(310)
    recording.say()
    await asyncio.sleep(1)
    assert recording.events[0]["count"] == 10
    assert recording.client.named("patch events")[-1].body["metadata"]["uid"] == UID_2


async def test_an_event_that_is_another_at_each_look_is_left_at_one_more_try(
    recording: Recording,
) -> None:
    recording.say()
    await asyncio.sleep(310)
    recording.client.calls.clear()
    another = make_error(422, fields=["metadata.uid"])
    recording.client.fail(another, "patch events", times=100)
    recording.say()
    await asyncio.sleep(1)
    assert recording.client.names() == [
        "patch events",
        "create events",
        "get events",
        "patch events",
    ]
    assert recording.recorder.dropped == 1


async def test_without_the_right_to_look_an_event_of_before_is_left_out() -> None:
    async with writing(Recording()) as before:
        before.say()
        await asyncio.sleep(1)
    before.client.fail(make_error(403), "get events")
    async with writing(Recording(before.client)) as after:
        after.say()
        await asyncio.sleep(1)
        assert after.recorder.dropped == 1
        after.say(message="other words")
        await asyncio.sleep(1)
        assert [event["count"] for event in after.events] == [1, 1]


async def test_an_event_whose_create_failed_is_made_at_its_next_saying(
    recording: Recording,
) -> None:
    recording.client.fail(make_error(503), "create events")
    recording.say()
    await asyncio.sleep(70)
    assert recording.recorder.dropped == 1
    recording.say()
    await asyncio.sleep(1)
    assert len(recording.events) == 1


async def test_a_pod_that_says_something_new_each_time_is_held_back(recording: Recording) -> None:
    for number in range(200):
        recording.say(message=f"used {number}")
    await asyncio.sleep(1)
    assert len(recording.events) == 25
    assert recording.recorder.dropped == 175
    await asyncio.sleep(120)
    for number in range(200, 210):
        recording.say(message=f"used {number}")
    await asyncio.sleep(1)
    assert len(recording.events) == 27


async def test_one_pod_holds_no_other_back(recording: Recording) -> None:
    for number in range(200):
        recording.say(message=f"used {number}")
    recording.say(uid=UID_2)
    await asyncio.sleep(1)
    assert any(e["involvedObject"]["uid"] == UID_2 for e in recording.events)


async def test_a_namespace_that_has_much_to_say_holds_no_other_back() -> None:
    recording = Recording()
    for number in range(10_000):
        recording.say(key=ObjectKey("loud", f"job-{number}"), uid=make_uid(number + 10))
    for number in range(3):
        recording.say(key=ObjectKey("quiet", f"job-{number}"), uid=make_uid(number))
    async with writing(recording):
        await asyncio.sleep(1)
    said = [event["involvedObject"]["namespace"] for event in recording.events]
    assert Counter(said[:6]) == {"loud": 3, "quiet": 3}


async def many_repeat_themselves(recording: Recording, pods: int) -> list[str]:
    """So many pods wait and say so again and again; the calls of the last five minutes."""
    for _ in range(3):
        recording.client.calls.clear()
        for number in range(pods):
            recording.say(key=ObjectKey("loud", f"job-{number}"), uid=make_uid(number))
            await asyncio.sleep(301 / pods)
    return recording.client.names()


@pytest.mark.parametrize("pods", [3000, 6000])
async def test_a_repetition_costs_one_call(recording: Recording, pods: int) -> None:
    calls = await many_repeat_themselves(recording, pods)
    assert set(calls) == {"patch events"}
    assert len(calls) <= pods


async def test_what_is_written_of_a_namespace_is_bounded(recording: Recording) -> None:
    calls = await many_repeat_themselves(recording, 20_000)
    assert len(calls) < 7000  # Twenty a second, and few that are new.
    recording.say()
    await asyncio.sleep(1)
    assert recording.client.names()[len(calls) :] == ["create events"]


async def test_what_goes_well_leaves_room_for_warnings(recording: Recording) -> None:
    for number in range(1500):
        key, uid = ObjectKey("loud", f"job-{number}"), make_uid(number)
        recording.recorder.record(key, uid, node=NODE, type="Normal", reason="S", message="m")
        if number % 100 == 0:
            await asyncio.sleep(0.1)
    assert recording.recorder.dropped
    before = recording.recorder.dropped
    recording.say(key=ObjectKey("loud", "another"))
    assert recording.recorder.dropped == before


async def test_nobody_waits_for_a_tenant_that_does_not_answer() -> None:
    recording = Recording()  # nothing writes
    for number in range(5000):
        recording.say(uid=make_uid(number))
    assert recording.recorder.dropped > 0


async def test_a_refused_event_does_not_end_the_writer(recording: Recording) -> None:
    recording.client.fail(make_error(403, "namespace is being terminated"), "create events")
    recording.say(message="a")
    recording.say(message="b")
    await asyncio.sleep(1)
    assert [event["message"] for event in recording.events] == ["b"]


async def test_long_messages_are_cut_to_what_the_api_takes(recording: Recording) -> None:
    recording.say(message="x" * 5000)
    await asyncio.sleep(1)
    assert len(recording.events[0]["message"]) == 1024


@pytest.mark.parametrize(
    "name", ["a" * 253, "a" * 199 + "-" + "b" * 50, "a" * 199 + "." + "b" * 50]
)
async def test_names_are_names_whatever_the_pod_is_called(recording: Recording, name: str) -> None:
    recording.say(key=ObjectKey("team-a", name))
    await asyncio.sleep(1)
    made = recording.events[0]["metadata"]["name"]
    assert len(made) <= 253
    assert all(label[-1].isalnum() and label[0].isalnum() for label in made.split("."))


async def test_what_is_said_of_a_node_lies_where_everybody_looks_for_it(
    recording: Recording,
) -> None:
    recording.recorder.say_of_node(
        NODE, UID_1, type="Warning", reason="ComputeUnreachable", message="away"
    )
    await asyncio.sleep(1)
    (event,) = recording.events
    assert event["metadata"]["namespace"] == "default"
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Node",
        "name": NODE,
        "uid": UID_1,
    }

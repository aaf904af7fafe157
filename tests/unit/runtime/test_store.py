"""The store: versions, scopes, indexes and listeners."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnode.kube.types import UID, ConfigMap, ObjectKey, ObjectMeta
from vnode.runtime.store import Change, Store


def make(
    name: str = "a", version: int = 1, *, namespace: str = "ns", uid: str = "u", color: str = ""
) -> ConfigMap:
    metadata = ObjectMeta(
        name=name,
        namespace=namespace,
        uid=UID(uid),
        resource_version=str(version) if version else "",
        labels={"color": color} if color else {},
    )
    return ConfigMap(metadata=metadata)


def by_color(obj: ConfigMap) -> list[str]:
    return list(obj.metadata.labels.values())


def recording() -> tuple[Store[ConfigMap], list[Change[ConfigMap]]]:
    store: Store[ConfigMap] = Store("test", {"color": by_color})
    changes: list[Change[ConfigMap]] = []
    store.subscribe(changes.append)
    return store, changes


KEY = ObjectKey("ns", "a")


def test_a_listener_that_ended_hears_nothing_more() -> None:
    store: Store[ConfigMap] = Store("test")
    changes: list[Change[ConfigMap]] = []
    end = store.subscribe(changes.append)
    end()
    store.upsert(make(version=1))
    assert changes == []


def test_listeners_hear_old_and_new_of_every_change() -> None:
    store, changes = recording()
    first, second, last = make(version=1), make(version=2), make(version=3)
    store.upsert(first, initial=True)
    store.upsert(second)
    store.remove(KEY, last=last)
    assert changes == [
        Change(KEY, old=None, new=first, initial=True),
        Change(KEY, old=first, new=second, initial=False),
        Change(KEY, old=last, new=None, initial=False),
    ]


def test_the_same_version_again_is_no_change() -> None:
    store, changes = recording()
    store.upsert(make(version=7))
    store.upsert(make(version=7))
    assert len(changes) == 1


def test_objects_without_version_are_compared_by_content() -> None:
    store, changes = recording()
    store.upsert(make(version=0))
    store.upsert(make(version=0))
    store.upsert(make(version=0, color="red"))
    assert len(changes) == 2


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    store, changes = recording()
    store.upsert(make(version=10))
    store.upsert(make(version=9))
    assert store.get(KEY) == make(version=10)
    assert len(changes) == 1
    assert store.statistics().stale == 1


def test_a_late_answer_does_not_bring_a_deleted_object_back() -> None:
    store, _ = recording()
    store.upsert(make(version=10))
    store.remove(KEY, last=make(version=12))
    store.upsert(make(version=11))
    assert store.get(KEY) is None
    store.upsert(make(version=13, uid="another"))
    assert store.get(KEY) is not None


def test_a_late_deletion_does_not_remove_the_successor() -> None:
    store, _ = recording()
    store.upsert(make(version=20, uid="second"))
    store.remove(KEY, last=make(version=12, uid="first"))
    assert store.get(KEY) is not None


def test_a_listing_removes_what_it_does_not_have_but_only_in_its_scope() -> None:
    store, changes = recording()
    store.upsert(make("a", 1, namespace="one"), scope="one")
    store.upsert(make("b", 2, namespace="one"), scope="one")
    store.upsert(make("c", 3, namespace="two"), scope="two")
    del changes[:]
    store.replace([make("b", 2, namespace="one")], scope="one", resource_version="9")
    assert store.keys() == [ObjectKey("one", "b"), ObjectKey("two", "c")]
    assert [(c.key.name, c.new, c.initial) for c in changes] == [("a", None, True)]


def test_an_own_write_that_was_deleted_unseen_goes_with_the_next_listing_of_its_namespace() -> None:
    store, _ = recording()
    store.upsert(make("a", 5, namespace="one"))  # the answer to our create: no scope
    store.replace([], scope="two", resource_version="9")
    assert len(store) == 1
    store.replace([], scope="one", resource_version="9")
    assert len(store) == 0


def test_an_own_write_that_is_newer_than_a_listing_survives_it() -> None:
    store, _ = recording()
    store.upsert(make("a", 12))
    store.replace([make("b", 3)], resource_version="10")
    assert sorted(key.name for key in store) == ["a", "b"]


def test_a_listing_does_not_take_objects_back_to_older_versions() -> None:
    store, _ = recording()
    store.upsert(make("a", 12))
    store.replace([make("a", 9)], resource_version="10")
    assert store.get(KEY) == make("a", 12)


def test_a_server_restored_from_a_backup_is_believed() -> None:
    store, _ = recording()
    store.replace([make("a", 90), make("b", 95)], resource_version="100")
    store.replace([make("a", 40)], resource_version="50")
    assert store.get(KEY) == make("a", 40)
    assert len(store) == 1
    store.upsert(make("b", 51))
    assert len(store) == 2


def test_a_server_restored_to_a_time_after_our_last_listing_is_believed() -> None:
    store, _ = recording()
    store.replace([make("a", 5), make("c", 6)], resource_version="10")
    store.upsert(make("a", 90))
    store.upsert(make("b", 95))
    store.remove(ObjectKey("ns", "c"), last=make("c", 97))
    store.replace([make("a", 40), make("c", 6)], resource_version="50", went_back=True)
    assert sorted(int(o.metadata.resource_version) for o in store.values()) == [6, 40]
    store.upsert(make("b", 51))
    store.upsert(make("a", 52))
    assert sorted(int(o.metadata.resource_version) for o in store.values()) == [6, 51, 52]


def test_a_restored_server_whose_versions_were_moved_on_is_believed() -> None:
    """`etcdutl snapshot restore --bump-revision`: objects keep the versions of the backup."""
    store, _ = recording()
    store.replace([make("a", 5), make("c", 6)], resource_version="10")
    store.upsert(make("a", 90))
    store.upsert(make("b", 95))
    store.remove(ObjectKey("ns", "c"), last=make("c", 97))
    store.replace([make("a", 40), make("c", 6)], resource_version="1000")
    assert sorted(int(o.metadata.resource_version) for o in store.values()) == [6, 40]


def test_a_listing_that_began_before_our_own_deletion_does_not_bring_the_object_back() -> None:
    store, _ = recording()
    store.upsert(make("a", 9))
    store.remove(KEY, last=make("a", 9))
    store.replace([make("a", 9)], resource_version="10")
    assert len(store) == 0


def test_a_scope_that_is_no_longer_watched_is_dropped_with_notice() -> None:
    store, changes = recording()
    store.replace([make("a", 1, namespace="one")], scope="one", resource_version="1")
    store.mark_synced("one")
    store.drop_scope("one")
    assert len(store) == 0
    assert changes[-1].new is None
    assert not store.synced("one")
    store.upsert(make("a", 1, namespace="one"), scope="one")
    assert len(store) == 1


def test_indexes_follow_changes() -> None:
    store, _ = recording()
    store.upsert(make("a", 1, color="red"))
    store.upsert(make("b", 2, color="red"))
    store.upsert(make("a", 3, color="blue"))
    assert [obj.metadata.name for obj in store.by_index("color", "red")] == ["b"]
    assert [obj.metadata.name for obj in store.by_index("color", "blue")] == ["a"]
    store.remove(KEY)
    assert store.by_index("color", "blue") == []
    with pytest.raises(KeyError):
        store.by_index("size", "red")


def test_a_listener_that_fails_stops_neither_the_store_nor_the_others() -> None:
    store: Store[ConfigMap] = Store("test")
    heard: list[Change[ConfigMap]] = []

    def broken(_: Change[ConfigMap]) -> None:
        raise LookupError("bug")

    store.subscribe(broken)
    store.subscribe(heard.append)
    store.upsert(make())
    assert len(heard) == 1


def test_changes_show_no_objects_in_their_repr() -> None:
    store, changes = recording()
    store.upsert(make(color="secret"))
    assert "secret" not in repr(changes)


VERSIONS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30)), max_size=30)


@given(VERSIONS)
def test_in_whatever_order_versions_arrive_the_newest_stays(
    versions: list[tuple[str, int]],
) -> None:
    store, _ = recording()
    newest: dict[str, int] = {}
    for name, version in versions:
        store.upsert(make(name, version, color=str(version % 3)))
        newest[name] = max(version, newest.get(name, 0))
    assert {o.metadata.name: int(o.metadata.resource_version) for o in store.values()} == newest
    for color in "012":
        indexed = {obj.metadata.name for obj in store.by_index("color", color)}
        assert indexed == {name for name, version in newest.items() if str(version % 3) == color}


@given(VERSIONS, VERSIONS)
def test_listeners_can_rebuild_the_store_from_its_changes(
    before: list[tuple[str, int]], listed: list[tuple[str, int]]
) -> None:
    store, changes = recording()
    for name, version in before:
        store.upsert(make(name, version))
    store.replace([make(name, v) for name, v in dict(listed).items()], resource_version="30")
    mirror: dict[ObjectKey, ConfigMap] = {}
    for change in changes:
        assert change.old == mirror.get(change.key)
        if change.new is None:
            del mirror[change.key]
        else:
            mirror[change.key] = change.new
    assert sorted(mirror) == sorted(store.keys()) == [("ns", name) for name in sorted(dict(listed))]


def test_a_late_answer_does_not_bring_back_what_a_newer_listing_does_not_have() -> None:
    store, changes = recording()
    store.replace([], scope="ns", resource_version="20")
    store.upsert(make(version=10), scope="ns")
    assert store.get(KEY) is None
    assert changes == []
    store.upsert(make(version=21), scope="ns")
    assert store.get(KEY) == make(version=21)


def test_a_late_answer_does_not_bring_back_what_a_listing_removed() -> None:
    store, _ = recording()
    store.upsert(make(version=5), scope="ns")
    store.replace([], scope="ns", resource_version="20")
    store.upsert(make(version=10))
    assert store.get(KEY) is None

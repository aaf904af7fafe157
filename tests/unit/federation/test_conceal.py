"""No name of the compute cluster reaches a tenant."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.backends.kubernetes.conceal import Names
from tests.builders import condition, container_status, loads, raw, running_status
from vnode.kube.types import JSON

UID_BELOW = "c0ffee00-0000-4000-8000-00000000000a"
UID = "3e9f6a50-0000-4000-8000-000000000001"
NAMES = Names(
    namespace_below="red--team-a",
    namespace="team-a",
    uid_below=UID_BELOW,
    uid=UID,
    node_below="gpu-17",
    node="vnode-a",
)
MAPPED = Names(namespace_below="gpu", namespace="team-a", node_below="ip-10-0-0-1.internal")

SEEN_IN_THE_WILD = {
    'pods "job-0" is forbidden: User "system:serviceaccount:red--team-a:vnode" cannot create '
    'resource "pods" in API group "" in the namespace "red--team-a"': (
        'pods "job-0" is forbidden: the virtual node cannot create '
        'resource "pods" in API group "" in the namespace "team-a"'
    ),
    f"back-off 10s restarting failed container=main pod=job-0_red--team-a({UID_BELOW})": (
        f"back-off 10s restarting failed container=main pod=job-0_team-a({UID})"
    ),
    'Internal error occurred: failed calling webhook "fuse.fluid.io": failed to call webhook: '
    'Post "https://fluid-webhook.fluid-system.svc:443/mutate?timeout=15s": dial tcp 10.96.3.4:443: '
    "connect: connection refused": (
        'Internal error occurred: failed calling webhook "fuse.fluid.io": connection refused'
    ),
    'failed calling webhook "a.b": failed to call webhook: Post "https://w.kube-system.svc:443/?": '
    "tls: failed to verify certificate: x509: certificate is valid for gpu-17, not w.kube-system": (
        'failed calling webhook "a.b": it cannot be called'
    ),
    "unable to create new content in namespace red--team-a because it is being terminated": (
        "unable to create new content in namespace team-a because it is being terminated"
    ),
    "pods \"job-0\" is forbidden: ValidatingAdmissionPolicy 'vnode-red-fence' with binding "
    "'vnode-red-fence' denied request: write in your own namespaces only": (
        'pods "job-0" is forbidden: a policy of the compute cluster denied request: '
        "write in your own namespaces only"
    ),
    "ValidatingAdmissionPolicy 'images' denied request: no tag": (
        "a policy of the compute cluster denied request: no tag"
    ),
    "policy 'gpu-defaults' with binding 'all' denied request: no such label": (
        "a policy of the compute cluster denied request: no such label"
    ),
    'policy "gpu-defaults" denied request: no such label': (
        "a policy of the compute cluster denied request: no such label"
    ),
    "namespace red--team-a.": "namespace team-a.",
    'object "red--team-a"/"settings" not registered': 'object "team-a"/"settings" not registered',
    "lookup web.red--team-a.svc.cluster.local: no such host": (
        "lookup web.team-a.svc.cluster.local: no such host"
    ),
    "Post https://10.0.0.1/api/v1/namespaces/red--team-a/pods": (
        "Post https://10.0.0.1/api/v1/namespaces/team-a/pods"
    ),
    f"open /var/lib/kubelet/pods/{UID_BELOW}/volumes/x: permission denied": (
        f"open /var/lib/kubelet/pods/{UID}/volumes/x: permission denied"
    ),
    "Preempted by a pod on node gpu-17": "Preempted by a pod on node vnode-a",
    "node gpu-17.": "node vnode-a.",
    "Node(gpu-17) was not ready": "Node(vnode-a) was not ready",
    "proxy error from nodes/gpu-17:10250": "proxy error from nodes/vnode-a:10250",
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.": (
        "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    ),
}


@pytest.mark.parametrize(("text", "concealed"), SEEN_IN_THE_WILD.items())
def test_messages_of_clusters_read_as_if_the_pod_ran_on_its_node(text: str, concealed: str) -> None:
    assert NAMES.conceal(text) == concealed


@pytest.mark.parametrize(
    ("text", "concealed"),
    [
        ("Insufficient nvidia.com/gpu", "Insufficient nvidia.com/gpu"),
        ("namespace gpu is being terminated", "namespace team-a is being terminated"),
        ("job-0_gpu(x)", "job-0_team-a(x)"),
        ("web.gpu.svc", "web.team-a.svc"),
        ("/namespaces/gpu/pods", "/namespaces/team-a/pods"),
        ("node-gpu-1 and gpus", "node-gpu-1 and gpus"),
        ("on ip-10-0-0-1.internal", "on the node"),
    ],
)
def test_a_short_name_from_a_table_is_replaced_where_it_is_a_name(
    text: str, concealed: str
) -> None:
    assert MAPPED.conceal(text) == concealed


def test_without_a_mapping_there_is_no_namespace_to_hide() -> None:
    names = Names(namespace_below="team-a", namespace="team-a")
    assert names.conceal("namespace team-a is full") == "namespace team-a is full"


class TestStatus:
    def test_messages_are_rewritten_wherever_they_stand(self) -> None:
        text = f"pod=job-0_red--team-a({UID_BELOW}) on gpu-17"
        status = running_status(
            message=text,
            conditions=[condition("Ready", "False", message=text)],
            containerStatuses=[
                container_status(
                    state={"waiting": {"reason": "CrashLoopBackOff", "message": text}},
                    lastState={"terminated": {"exitCode": 1, "message": text}},
                )
            ],
        )
        concealed = NAMES.conceal_status(bytes(raw(status))).decode()
        for name in ("red--team-a", UID_BELOW, "gpu-17"):
            assert name not in concealed
        assert concealed.count(f"pod=job-0_team-a({UID}) on vnode-a") == 4

    @pytest.mark.parametrize("name", ["main", "ready", "state", "name", "running"])
    def test_a_namespace_called_like_a_field_breaks_no_status(self, name: str) -> None:
        status = running_status("main", message=f"namespace {name} is full")
        names = Names(namespace_below=name, namespace="team-a")
        concealed = loads(names.conceal_status(bytes(raw(status))))
        assert concealed == {**status, "message": "namespace team-a is full"}

    def test_a_status_without_names_stays_as_it_is(self) -> None:
        status = bytes(raw(running_status(newField={"x": 1})))
        assert NAMES.conceal_status(status) is status


# --- any text -----------------------------------------------------------------------------------

WORDS = ["job-0", "is", "nvidia.com/gpu", "svc", "User", "in", "17", "a"]
separators = st.sampled_from([" ", "/", ".", ":", '"', "(", ")", "_", ", ", "=", "@", "[", "\n"])
secrets = st.sampled_from(
    ["red--team-a", UID_BELOW, "gpu-17", 'user "kube:agent"', 'User "red--team-a/gpu-17"']
)
texts = st.lists(st.tuples(st.one_of(st.sampled_from(WORDS), secrets), separators), max_size=8).map(
    lambda parts: "".join(word + separator for word, separator in parts)
)


def assert_concealed(text: str) -> None:
    assert "red--team-a" not in text
    assert UID_BELOW not in text
    assert not re.search(r"(?<![A-Za-z0-9-])gpu-17(?![A-Za-z0-9-])", text)
    assert "kube:agent" not in text


@given(texts)
def test_no_name_survives_in_any_text(text: str) -> None:
    assert_concealed(NAMES.conceal(text))


@given(texts)
def test_concealing_twice_is_concealing_once(text: str) -> None:
    once = NAMES.conceal(text)
    assert NAMES.conceal(once) == once


@given(st.text(max_size=60))
def test_texts_without_names_are_left_alone(text: str) -> None:
    if not any(name in text for name in ("red--team-a", "gpu-17", 'ser "')):
        assert NAMES.conceal(text) == text


messages = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), texts.map(lambda t: {"message": t})),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["state", "waiting", "conditions", "x"]), inner),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(messages)
def test_no_name_survives_in_the_messages_of_any_status(value: JSON) -> None:
    concealed = NAMES.conceal_status(bytes(raw({"phase": "Running", "rest": value})))
    assert loads(concealed)["phase"] == "Running"
    assert_concealed(concealed.decode().replace('\\"', '"'))

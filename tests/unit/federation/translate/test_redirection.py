"""No pod leads the calls of the sidecars beside it to somebody whom the tenant chose."""

from typing import Any

import pytest

from federation.backends.kubernetes.injection import refuse_redirected
from federation.backends.translation.redirection import refuse_redirecting
from tests.builders import make_pod
from vnode.backend import Rejected
from vnode.kube.types import Pod

LINES = "15\nsearch evil.example\nnameserver 203.0.113.7"


def may(*capabilities: str) -> dict[str, Any]:
    context = {"capabilities": {"add": list(capabilities)}}
    return {"name": "main", "image": "x", "securityContext": context}


def refused(pod: Pod) -> str:
    """The field that is refused on both kinds of clusters."""
    fields = set()
    for judge in (refuse_redirected, refuse_redirecting):
        with pytest.raises(Rejected) as rejected:
            judge(pod)
        fields.add(rejected.value.field or "")
    (field,) = fields
    return field


@pytest.mark.parametrize(
    "option",
    [
        {"name": "ndots", "value": LINES},
        {"name": f"ndots:{LINES}"},
        {"name": "ndots", "value": "1\n"},
        {"name": "ndots\n", "value": "1"},
        {"name": "ndots", "value": "1 timeout:9"},
        {"name": "", "value": "1"},
    ],
)
def test_an_option_of_the_resolver_brings_no_lines_of_its_own(option: Any) -> None:
    pod = make_pod(dnsConfig={"options": [{"name": "edns0"}, option]})
    assert refused(pod) == "spec.dnsConfig.options[1]"


def test_what_a_kubelet_writes_as_a_name_of_the_pod_has_no_dot() -> None:
    assert refused(make_pod(hostnameOverride="nas.example.com")) == "spec.hostnameOverride"
    assert refused(make_pod("nas.example.com")) == "spec.hostname"
    assert refused(make_pod(hostname="nas.example.com")) == "spec.hostname"
    assert refused(make_pod("nas." + "a" * 80)) == "spec.hostname"


@pytest.mark.parametrize(
    "pod",
    [
        make_pod("nas.example.com", hostname="nas"),
        make_pod("nas.example.com", hostnameOverride="nas"),
        make_pod("a" * 63 + ".example.com"),
        make_pod("nas.example.com", hostNetwork=True),
    ],
)
def test_a_name_that_no_kubelet_writes_is_free(pod: Pod) -> None:
    refuse_redirected(pod)


@pytest.mark.parametrize("name", ["NET_ADMIN", "NET_RAW", "ALL", "CAP_NET_ADMIN", "net_raw"])
def test_nobody_beside_a_sidecar_has_power_over_its_network(name: str) -> None:
    where = "securityContext.capabilities.add"
    assert refused(make_pod(containers=["main", may("CHOWN", name)])) == (
        f"spec.containers[1].{where}"
    )
    assert refused(make_pod(initContainers=[may(name)])) == f"spec.initContainers[0].{where}"


def test_a_privileged_container_has_that_power_too() -> None:
    root = {"name": "main", "image": "x", "securityContext": {"privileged": True}}
    assert refused(make_pod(containers=[root])) == "spec.containers[0].securityContext.privileged"


@pytest.mark.parametrize(
    "pod",
    [
        make_pod("train-7f9c"),
        make_pod("web-0", hostname="web-0", subdomain="web", setHostnameAsFQDN=True),
        make_pod(
            dnsPolicy="ClusterFirst",
            dnsConfig={"options": [{"name": "ndots", "value": "2"}, {"name": "trust-ad"}]},
        ),
        make_pod(containers=[may("IPC_LOCK", "SYS_PTRACE")]),
        make_pod(dnsConfig=None, hostAliases=None, initContainers=None, hostnameOverride=None),
    ],
)
def test_an_ordinary_pod_may_have_a_sidecar(pod: Pod) -> None:
    refuse_redirected(pod)
    refuse_redirecting(pod)

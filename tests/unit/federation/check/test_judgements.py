"""What each look at a cluster means: pure judgements, and the command that mends."""

from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest

from federation.check.admission import _PodToleration, judge_tolerations
from federation.check.capacity import judge_nodes, judge_static
from federation.check.clocks import judge_clocks
from federation.check.findings import Finding, Level
from federation.check.kubelet import judge_path
from federation.check.links import Lifetime, judge_lifetime
from federation.check.namespaces import Quota, Rules, judge_namespace, judge_quotas
from federation.check.networks import Ranges, judge_flat, judge_unroutable
from federation.check.nodes import judge_node
from federation.check.reviews import Rule
from federation.check.rights import judge_missing
from federation.check.serving import Served, judge_pending, judge_served
from federation.check.versions import judge_compute, judge_tenant
from federation.config import AgentConfig
from federation.rights import Right
from tests.builders import make_error
from vnode.kube.decode import decode
from vnode.kube.errors import KubeError, ServerError, Unreachable
from vnode.kube.types import UID, NodeName, ObjectMeta, PartialObject, encode
from vnode.node.objects import Node
from vnode.node.serving.request import SigningRequest

OURS, OTHERS = UID("ours"), UID("others")
NODE = NodeName("vnode-gpu")


def config(**cluster: Any) -> AgentConfig:
    entry = {"name": "gpu", "kubeconfig": "k", **cluster}
    return AgentConfig.model_validate({"tenant": {"name": "red"}, "clusters": [entry]})


def levels(findings: Any) -> list[Level]:
    return [each.level for each in findings]


class TestVersions:
    def test_a_current_tenant_is_fine(self) -> None:
        assert levels(judge_tenant("v1.36.3")) == [Level.OK]

    def test_before_1_36_pods_need_their_tolerations_written(self) -> None:
        _, finding = judge_tenant("v1.35.1-gke.100")
        assert finding.level is Level.WARN
        assert "vnode.dev/provider" in finding.text

    @pytest.mark.parametrize("version", ["v1.27.9", "v1.20.0", "", "nonsense"])
    def test_what_is_older_than_the_minimum_is_wrong_on_both_sides(self, version: str) -> None:
        assert levels(judge_tenant(version)) == [Level.WRONG]
        assert levels(judge_compute(version, config().kubernetes_clusters[0])) == [Level.WRONG]

    def test_without_resize_there_is_a_warning(self) -> None:
        assert levels(judge_compute("v1.32.0", config().kubernetes_clusters[0])) == [
            Level.OK,
            Level.WARN,
        ]
        assert levels(judge_compute("v1.33.0", config().kubernetes_clusters[0])) == [Level.OK]

    def test_on_demand_needs_a_fence(self) -> None:
        pool = {"capacity": {"sources": ["static"], "static": {"pods": "1"}}}
        (cluster,) = config(namespaces={"create": "OnDemand"}, pools=[pool]).kubernetes_clusters
        assert Level.WRONG in levels(judge_compute("v1.29.0", cluster))
        assert Level.WRONG not in levels(judge_compute("v1.30.0", cluster))


class TestClocks:
    def test_small_differences_are_fine(self) -> None:
        (finding,) = judge_clocks({"us": 0.0, "tenant": 1.4, "gpu": -1.0})
        assert finding.level is Level.OK

    def test_who_differs_from_all_others_is_named(self) -> None:
        (finding,) = judge_clocks({"us": 0.0, "tenant": 0.4, "gpu": 600.0})
        assert finding.level is Level.WRONG
        assert finding.text == "the clock of gpu is 10 min ahead of the others"
        assert finding.mend == "timedatectl set-ntp true  # on the control plane of gpu"

    def test_our_own_clock_may_be_the_wrong_one(self) -> None:
        (finding,) = judge_clocks({"this machine": 0.0, "tenant": 600.2, "gpu": 600.0})
        assert "this machine is 10 min behind" in finding.text

    def test_some_seconds_are_a_warning(self) -> None:
        assert levels(judge_clocks({"us": 0.0, "tenant": 0.0, "gpu": 20.0})) == [Level.WARN]

    def test_of_two_nobody_knows_which_is_wrong(self) -> None:
        (finding,) = judge_clocks({"us": 0.0, "tenant": 600.0})
        assert finding.text == "the clocks of us and tenant differ by 10 min"


class TestCredentials:
    def test_one_that_nobody_renews_is_a_warning_in_its_last_week(self) -> None:
        life = Lifetime("token", ends=86_400.0 * 6, renewed=False)
        (finding,) = judge_lifetime(life, now=0.0, mend="renew it")
        assert (finding.level, finding.mend) == (Level.WARN, "renew it")
        assert "ends in 6 days" in finding.text

    def test_one_that_is_renewed_is_not(self) -> None:
        life = Lifetime("token", ends=600.0, renewed=True)
        assert judge_lifetime(life, now=0.0, mend="") == []


class TestRights:
    RIGHTS = (
        Right("get", "pods/log", "kubectl logs", namespace="red--a"),
        Right("list", "pods", "run the pods", namespace="red--a"),
        Right(
            "list", "pods", "kubectl top", group="metrics.k8s.io", namespace="red--a", optional=True
        ),
    )

    def test_a_missing_right_says_what_does_not_work(self) -> None:
        (finding,) = judge_missing(self.RIGHTS, self.RIGHTS[:1], mend="apply")
        assert finding == Finding(
            Level.WRONG, "may not get pods/log in namespace red--a (kubectl logs)", "apply"
        )

    def test_one_that_is_not_needed_for_pods_is_a_warning(self) -> None:
        assert levels(judge_missing(self.RIGHTS, self.RIGHTS[2:], mend="")) == [Level.WARN]

    def test_none_at_all_in_a_namespace_is_one_line(self) -> None:
        first, _ = judge_missing(self.RIGHTS, self.RIGHTS, mend="")
        assert "no right at all in namespace red--a" in first.text

    @pytest.mark.parametrize(
        ("rule", "covers"),
        [
            (Rule(verbs=["get"], api_groups=[""], resources=["pods/log"]), True),
            (Rule(verbs=["*"], api_groups=["*"], resources=["*"]), True),
            (Rule(verbs=["get"], api_groups=[""], resources=["*/log"]), True),
            (Rule(verbs=["get"], api_groups=[""], resources=["pods"]), False),
            (Rule(verbs=["get"], api_groups=["apps"], resources=["pods/log"]), False),
            (Rule(verbs=["list"], api_groups=[""], resources=["pods/log"]), False),
            (
                Rule(verbs=["get"], api_groups=[""], resources=["pods/log"], resource_names=["a"]),
                False,
            ),
        ],
    )
    def test_rules_cover_what_rbac_says_they_do(self, rule: Rule, covers: bool) -> None:
        assert rule.covers(self.RIGHTS[0]) is covers


def rules(**changes: Any) -> Rules:
    made = {
        "tenant": "red",
        "cluster_uid": OURS,
        "made_by_agent": False,
        "privileged": False,
        "quotas": True,
        "mend": "prepare",
    }
    return Rules(**{**made, **changes})


def namespace(
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    deleted: str | None = None,
) -> PartialObject:
    made = {"vnode.dev/tenant": "red", "pod-security.kubernetes.io/enforce": "baseline"}
    meta = ObjectMeta(
        name="red--a",
        labels={**made, **(labels or {})},
        annotations=annotations or {},
        deletion_timestamp=deleted,
    )
    return PartialObject(metadata=meta)


class TestNamespaces:
    def test_ours_with_pod_security_is_fine(self) -> None:
        assert judge_namespace(namespace(), "a", rules()) == []

    def test_another_tenants_is_named_with_the_label_that_would_make_it_ours(self) -> None:
        (finding,) = judge_namespace(namespace({"vnode.dev/tenant": "blue"}), "a", rules())
        assert 'belongs to tenant "blue"' in finding.text
        assert finding.mend.startswith(
            "kubectl label --overwrite namespace red--a vnode.dev/tenant=red"
        )

    def test_another_tenant_cluster_of_the_same_name_is_found(self) -> None:
        marked = namespace(annotations={"vnode.dev/cluster-uid": "others"})
        (finding,) = judge_namespace(marked, "a", rules())
        assert finding.text.startswith('tenant name "red" is used twice')

    def test_an_unknown_uid_of_ours_accuses_nobody(self) -> None:
        marked = namespace(annotations={"vnode.dev/cluster-uid": "others"})
        assert judge_namespace(marked, "a", rules(cluster_uid=None)) == []

    def test_one_that_is_being_deleted_takes_no_pods(self) -> None:
        (finding,) = judge_namespace(namespace(deleted="2027-01-15T08:00:00Z"), "a", rules())
        assert "is being deleted" in finding.text

    @pytest.mark.parametrize(
        ("level", "privileged", "expected"),
        [
            ("baseline", False, []),
            ("restricted", False, []),
            ("", False, [Level.WARN]),
            ("privileged", False, [Level.WARN]),
            ("privileged", True, []),
            ("baseline", True, [Level.WARN]),
        ],
    )
    def test_pod_security_fits_the_policy(
        self, level: str, privileged: bool, expected: list[Level]
    ) -> None:
        found = namespace({"pod-security.kubernetes.io/enforce": level})
        assert levels(judge_namespace(found, "a", rules(privileged=privileged))) == expected


def quota(hard: dict[str, str], used: dict[str, str] | None = None) -> Quota:
    body = {"metadata": {"name": "vnode"}, "spec": {"hard": hard}, "status": {"used": used or {}}}
    return decode(encode(body), Quota)


class TestQuotas:
    def test_without_any_there_is_no_capacity(self) -> None:
        (finding,) = judge_quotas("red--a", [quota({"configmaps": "10"})], rules())
        assert (finding.level, finding.mend) == (Level.WRONG, "prepare")

    def test_zero_pods_is_wrong_and_the_mend_is_a_patch(self) -> None:
        (finding,) = judge_quotas("red--a", [quota({"pods": "0", "cpu": "4"})], rules())
        assert finding.level is Level.WRONG
        assert finding.mend.startswith(
            "kubectl -n red--a patch resourcequota vnode --type=merge "
            """-p '{"spec":{"hard":{"pods":"100"}}}'"""
        )

    def test_zero_of_a_device_is_a_warning(self) -> None:
        hard = {"pods": "1", "requests.nvidia.com/gpu": "0"}
        assert levels(judge_quotas("red--a", [quota(hard)], rules())) == [Level.WARN]

    def test_a_full_one_is_a_warning(self) -> None:
        full = quota({"pods": "2", "requests.cpu": "2"}, {"pods": "2", "requests.cpu": "100m"})
        (finding,) = judge_quotas("red--a", [full], rules())
        assert finding.level is Level.WARN
        assert "pods (2)" in finding.text

    def test_room_is_fine(self) -> None:
        assert judge_quotas("red--a", [quota({"pods": "2"}, {"pods": "1"})], rules()) == []


def nets(*texts: str) -> frozenset[Any]:
    return frozenset(ip_network(text) for text in texts)


class TestNetworks:
    def test_overlapping_ranges_of_a_flat_network_are_wrong(self) -> None:
        above = Ranges(nets("10.0.0.0/24"), nets("10.96.0.0/16"))
        (finding,) = judge_flat(above, Ranges(nets("10.0.0.0/16")), mend="isolate")
        assert (finding.level, finding.mend) == (Level.WRONG, "isolate")
        assert "10.0.0.0/24 and 10.0.0.0/16" in finding.text

    def test_disjoint_ranges_are_fine(self) -> None:
        (finding,) = judge_flat(Ranges(nets("10.0.0.0/16")), Ranges(nets("10.1.0.0/16")), mend="")
        assert finding.level is Level.OK

    def test_addresses_of_two_families_never_overlap(self) -> None:
        (finding,) = judge_flat(Ranges(nets("10.0.0.0/8")), Ranges(nets("fd00::/8")), mend="")
        assert finding.level is Level.OK

    def test_unknown_ranges_are_said_to_be_unknown(self) -> None:
        above = Ranges(nets("10.0.0.0/16"))
        (finding,) = judge_flat(above, Ranges(why_unknown="forbidden"), mend="")
        assert finding.level is Level.UNTRIED
        (finding,) = judge_flat(above, Ranges(), mend="")
        assert finding.level is Level.WARN

    def test_what_tenants_see_of_isolated_pods_is_nobodys(self) -> None:
        shown = IPv4Network("198.18.0.0/15")
        assert judge_unroutable(shown, Ranges(nets("10.0.0.0/8"))).level is Level.OK
        assert judge_unroutable(shown, Ranges(nets("198.19.0.0/24"))).level is Level.WRONG


class TestKubeletPath:
    @pytest.mark.parametrize(
        ("error", "level", "words"),
        [
            (
                make_error(
                    503, "error trying to reach service: dial tcp: connect: connection refused"
                ),
                Level.WRONG,
                "does not reach the kubelet port 192.0.2.1:10250",
            ),
            (
                make_error(503, "error trying to reach service: dial tcp: i/o timeout"),
                Level.WRONG,
                "does not reach the kubelet port",
            ),
            (Unreachable("tenant: GET /x: no answer in time"), Level.WRONG, "does not reach"),
            (
                make_error(
                    503,
                    "error trying to reach service: tls: failed to verify certificate: x509: "
                    "certificate signed by unknown authority",
                ),
                Level.WRONG,
                "verifies kubelets, and refuses the certificate",
            ),
            (
                make_error(
                    503, "error trying to reach service: remote error: tls: bad certificate"
                ),
                Level.WRONG,
                "refuses the API server's client certificate",
            ),
            (make_error(401, ""), Level.WRONG, "does not know the API server (401)"),
            (ServerError("HTTP 403 with no status", code=403), Level.WRONG, "(403)"),
            (
                make_error(
                    403, 'nodes "x" is forbidden: User "u" cannot get resource "nodes/proxy"'
                ),
                Level.UNTRIED,
                "needs the right to get nodes/proxy",
            ),
            (make_error(400, "address not allowed"), Level.UNTRIED, "loopback"),
        ],
    )
    def test_what_is_in_the_way_is_told_apart(
        self, error: KubeError, level: Level, words: str
    ) -> None:
        finding = judge_path(error, place="192.0.2.1:10250")
        assert finding.level is level
        assert words in finding.text

    def test_a_refused_certificate_is_mended_by_an_approval(self) -> None:
        error = make_error(503, "x509: certificate signed by unknown authority")
        assert judge_path(error, place="x:1").mend.startswith("kubectl certificate approve")


class TestServing:
    def served(self, **changes: Any) -> Served:
        made = {"issuer": "ca", "own": True, "ends": 9e9, "addresses": frozenset({"192.0.2.1"})}
        return Served(**{**made, **changes})

    def judged(self, served: Served, *, reached: bool = False) -> Finding:
        (finding,) = judge_served(served, address="192.0.2.1", now=1e9, reached=reached)
        return finding

    def test_a_self_signed_one_that_was_accepted_shows_that_nobody_verifies(self) -> None:
        assert "does not verify kubelets" in self.judged(self.served(), reached=True).text
        assert "does not verify" not in self.judged(self.served()).text

    def test_one_that_ended_is_wrong(self) -> None:
        assert self.judged(self.served(ends=1.0)).level is Level.WRONG

    def test_one_without_the_nodes_address_is_a_warning(self) -> None:
        assert self.judged(self.served(addresses=frozenset())).level is Level.WARN

    def test_the_newest_request_that_waits_is_to_be_approved(self) -> None:
        requests = [
            decode(
                encode(
                    {
                        "metadata": {"name": name, "creationTimestamp": made},
                        "status": {"conditions": done},
                    }
                ),
                SigningRequest,
            )
            for name, made, done in (
                ("vnode-gpu-0123456789", "2027-01-15T08:00:00Z", None),
                ("vnode-gpu-abcdef0123", "2027-01-15T09:00:00Z", None),
                ("vnode-gpu-fedcba9876", "2027-01-15T10:00:00Z", [{"type": "Denied"}]),
                ("vnode-other-012345678", "2027-01-15T10:00:00Z", None),
            )
        ]
        (finding,) = judge_pending(requests, NODE)
        assert finding.mend == "kubectl certificate approve vnode-gpu-abcdef0123"


class TestNodes:
    def node(self, ready: str = "True", link: str = "True", pods: str = "10") -> Node:
        conditions = [
            {"type": "Ready", "status": ready},
            {"type": "vnode.dev/ComputeReachable", "status": link},
        ]
        status = {"conditions": conditions, "allocatable": {"pods": pods}}
        return decode(encode({"metadata": {"name": NODE}, "status": status}), Node)

    def test_ready_with_room_is_fine(self) -> None:
        assert levels(judge_node(self.node())) == [Level.OK]

    @pytest.mark.parametrize(
        "changes", [{"ready": "Unknown"}, {"link": "False"}, {"pods": "0"}], ids=str
    )
    def test_anything_else_is_wrong(self, changes: dict[str, str]) -> None:
        assert levels(judge_node(self.node(**changes))) == [Level.WRONG]


class TestCapacity:
    def test_no_pods_in_fixed_numbers_is_wrong(self) -> None:
        assert judge_static({"pods": "0"}).level is Level.WRONG
        assert judge_static({"pods": "1"}).level is Level.OK

    def test_nodes_are_counted_by_the_pools_labels(self) -> None:
        pool = {"nodeSelector": {"gpu": "yes"}, "capacity": {"sources": ["nodes"]}}
        (wanted,) = config(pools=[pool]).kubernetes_clusters[0].pools

        def made(labels: dict[str, str], ready: str = "True") -> Node:
            status = {"conditions": [{"type": "Ready", "status": ready}]}
            return decode(encode({"metadata": {"labels": labels}, "status": status}), Node)

        right, other = {"gpu": "yes"}, {"gpu": "no"}
        assert judge_nodes([made(right)], wanted).level is Level.OK
        assert judge_nodes([made(right), made(right, "False")], wanted).level is Level.WARN
        assert judge_nodes([made(right, "False")], wanted).level is Level.WRONG
        assert judge_nodes([made(other)], wanted).level is Level.WRONG


class TestTolerations:
    PROVIDER = _PodToleration(key="vnode.dev/provider", operator="Exists")

    def limited(self, seconds: int | None) -> _PodToleration:
        key = "node.kubernetes.io/unreachable"
        return _PodToleration(key=key, operator="Exists", toleration_seconds=seconds)

    def test_what_the_policy_makes_is_fine(self) -> None:
        assert judge_tolerations([self.PROVIDER, self.limited(None)]) == ""

    def test_a_users_own_limit_is_his_affair(self) -> None:
        assert judge_tolerations([self.PROVIDER, self.limited(60)]) == ""

    def test_what_is_missing_is_said(self) -> None:
        assert "do not tolerate vnode.dev/provider" in judge_tolerations([])
        assert "deleted after 300 s" in judge_tolerations([self.PROVIDER, self.limited(300)])

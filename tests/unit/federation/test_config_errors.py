"""What is said when the configuration file is wrong."""

from pathlib import Path

import pytest

from federation.config import ConfigFileError, load_config
from tests.unit.federation.config_files import written


def errors_of(path: Path) -> list[str]:
    """The problems of a file, without its folder."""
    with pytest.raises(ConfigFileError) as caught:
        load_config(path)
    return [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]


TENANT = "tenant: {name: demo}\n"
CLUSTER = "- {name: gpu-a, kubeconfig: k}\n"
CLUSTERS = TENANT + "clusters:\n- name: a\n  kubeconfig: k\n"
POOLS = CLUSTERS + "  pools:\n"


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "problems"),
        [
            pytest.param("", ["config.yaml: is empty; start from config/example.yaml"], id="empty"),
            pytest.param(
                "- tenant\n",
                [
                    "config.yaml:1: holds a list instead of a mapping; "
                    "start from config/example.yaml"
                ],
                id="no mapping",
            ),
            pytest.param(
                "tenant:\n  name: demo\n bad: [\n",
                [
                    "config.yaml:3: is not valid YAML (did not find expected key); "
                    "check indentation, quotes and colons"
                ],
                id="syntax",
            ),
            pytest.param(
                "tenant: *nowhere\n",
                [
                    "config.yaml:1: is not valid YAML (found undefined alias); "
                    "check indentation, quotes and colons"
                ],
                id="alias",
            ),
            pytest.param(
                "tenant: !!python/object:os.system {}\n",
                [
                    "config.yaml:1: is not valid YAML (could not determine a constructor for the "
                    "tag 'tag:yaml.org,2002:python/object:os.system'); "
                    "check indentation, quotes and colons"
                ],
                id="tag",
            ),
            pytest.param(
                "tenant:\n  name: a\n  name: b\n",
                ["config.yaml:3: tenant.name: is given twice; remove one"],
                id="key twice",
            ),
            pytest.param(
                TENANT, ["config.yaml: clusters: is missing; add it"], id="section missing"
            ),
            pytest.param(
                TENANT + "clusters: []\n",
                ["config.yaml:2: clusters: is empty; at least 1 entry is needed"],
                id="no cluster",
            ),
            pytest.param(
                TENANT + "clusters:\n- name: gpu-a\n",
                ["config.yaml:3: clusters[0].kubeconfig: is missing; add it"],
                id="key missing",
            ),
            pytest.param(
                TENANT + "clusters:\n- name: gpu-a\n  kubeconfig:\n",
                ["config.yaml:4: clusters[0].kubeconfig: has no value; give a path"],
                id="no value",
            ),
            pytest.param(
                TENANT + "clusters:\n- gpu-a\n",
                ['config.yaml:3: clusters[0]: "gpu-a" is not a mapping (key: value)'],
                id="text for a mapping",
            ),
            pytest.param(
                "tenant:\n  name: demo\n  namespace: [a]\nclusters:\n" + CLUSTER,
                ['config.yaml:3: tenant.namespace: unknown key; did you mean "namespaces"?'],
                id="mistyped key",
            ),
            pytest.param(
                TENANT + "logging: {zzz: 1}\nclusters:\n" + CLUSTER,
                ["config.yaml:2: logging.zzz: unknown key; known here: level, format"],
                id="unknown key",
            ),
            pytest.param(
                POOLS + "  - node_name: x\n",
                [
                    "config.yaml:6: clusters[0].pools[0].node_name: unknown key; "
                    'did you mean "nodeName"?'
                ],
                id="Python's spelling",
            ),
            pytest.param(
                "tenant: {name: a--b}\nclusters:\n" + CLUSTER,
                [
                    'config.yaml:1: tenant.name: "a--b" is no tenant name; '
                    'at most 20 characters, no "--"'
                ],
                id="tenant name",
            ),
            pytest.param(
                "tenant: {name: Team_A}\nclusters:\n" + CLUSTER,
                [
                    'config.yaml:1: tenant.name: "Team_A" is not a DNS label; '
                    "use a-z, 0-9 and -, at most 63 characters, no - at either end"
                ],
                id="DNS label",
            ),
            pytest.param(
                TENANT + "kubelet:\n  basePort: 70000\n  insecure: perhaps\nclusters:\n" + CLUSTER,
                [
                    "config.yaml:3: kubelet.basePort: 70000 is too large; at most 65535",
                    'config.yaml:4: kubelet.insecure: "perhaps" is not true or false',
                ],
                id="two problems",
            ),
            pytest.param(
                TENANT + "kubelet: {certificate: {file: tls.crt}}\nclusters:\n" + CLUSTER,
                [
                    "config.yaml:2: kubelet.certificate: file and key belong together; "
                    "give both or neither"
                ],
                id="half a certificate",
            ),
            pytest.param(
                TENANT + "kubelet: {certificate: {source: files}}\nclusters:\n" + CLUSTER,
                ["config.yaml:2: kubelet.certificate: source files needs file and key"],
                id="no files",
            ),
            pytest.param(
                TENANT
                + "kubelet: {certificate: {file: tls.crt, key: tls.key}}\nclusters:\n"
                + CLUSTER,
                [
                    "config.yaml:2: kubelet.certificate: file and key are used with source files "
                    "only; set source: files"
                ],
                id="unused files",
            ),
            pytest.param(
                TENANT + "kubelet: {listen: localhost}\nclusters:\n" + CLUSTER,
                ['config.yaml:2: kubelet.listen: "localhost" is not an IP address'],
                id="address",
            ),
            pytest.param(
                "tenant: {name: a, apiServer: {host: 'https://api:6443'}}\nclusters:\n" + CLUSTER,
                [
                    'config.yaml:1: tenant.apiServer.host: "https://api:6443" is neither an IP '
                    "address nor a DNS name; leave out scheme and port"
                ],
                id="host",
            ),
            pytest.param(
                TENANT + "podAddresses: 10.0.0.1/8\nclusters:\n" + CLUSTER,
                [
                    'config.yaml:2: podAddresses: "10.0.0.1/8" is not an IPv4 network in CIDR '
                    "form; write it like 198.18.0.0/15"
                ],
                id="network",
            ),
            pytest.param(
                TENANT + "podAddresses: 2001:db8::/64\nclusters:\n" + CLUSTER,
                [
                    'config.yaml:2: podAddresses: "2001:db8::/64" is not an IPv4 network in CIDR '
                    "form; write it like 198.18.0.0/15"
                ],
                id="IPv6 network",
            ),
            pytest.param(
                TENANT + "podAddresses: 10.0.0.0/31\nclusters:\n" + CLUSTER,
                [
                    'config.yaml:2: podAddresses: "10.0.0.0/31" has no room for pods; '
                    "the prefix can be /30 or shorter, like 198.18.0.0/15"
                ],
                id="network too small",
            ),
            pytest.param(
                TENANT + "kubelet: {advertise: node.example.com}\nclusters:\n" + CLUSTER,
                ['config.yaml:2: kubelet.advertise: "node.example.com" is not an IP address'],
                id="advertised name",
            ),
            pytest.param(
                TENANT + "leaderElection:\n  leaseDuration: 15\nclusters:\n" + CLUSTER,
                [
                    "config.yaml:3: leaderElection.leaseDuration: 15 is not a duration; "
                    'write it with a unit, like "15s", "1m"'
                ],
                id="duration without unit",
            ),
            pytest.param(
                TENANT
                + "leaderElection:\n  leaseDuration: 10s\n  renewDeadline: 10s\n  retryPeriod: 1m\n"
                + "clusters:\n"
                + CLUSTER,
                [
                    "config.yaml:4: leaderElection.renewDeadline: 10s must be shorter than "
                    "leaseDuration (10s)",
                    "config.yaml:5: leaderElection.retryPeriod: 60s times 1.2 (jitter) must be "
                    "shorter than "
                    "renewDeadline (10s)",
                ],
                id="time limits",
            ),
            pytest.param(
                TENANT + "clusters:\n" + CLUSTER + CLUSTER,
                [
                    'config.yaml:4: clusters[1].name: "gpu-a" is used twice; '
                    "cluster names must be unique"
                ],
                id="cluster name twice",
            ),
            pytest.param(
                TENANT
                + "clusters:\n- name: gpu-a\n  kubeconfig: a\n  kubeconfigSecret: one\n"
                + "- name: gpu-b\n  kubeconfig: b\n  kubeconfigSecret: one\n",
                [
                    'config.yaml:8: clusters[1].kubeconfigSecret: "one" is that of gpu-a too, and '
                    "the agent would write the token of one over the other's; each cluster has a "
                    "Secret of its own"
                ],
                id="Secret of another cluster",
            ),
            pytest.param(
                TENANT + "clusters:\n- name: gpu-a\n  kubeconfig: k\n  network: tunnel\n",
                ['config.yaml:5: clusters[0].network: "tunnel" is not one of: isolated, flat'],
                id="choice",
            ),
            pytest.param(
                POOLS + "  - name: x\n  - name: x\n",
                [
                    'config.yaml:7: clusters[0].pools[1].name: "x" is used twice; '
                    "pool names must be unique within a cluster"
                ],
                id="pool name twice",
            ),
            pytest.param(
                TENANT
                + "clusters:\n- {name: a, kubeconfig: k, pools: [{name: b-c}]}\n"
                + "- name: a-b\n  kubeconfig: k\n  pools:\n  - name: c\n",
                [
                    'config.yaml:7: clusters[1].pools[0]: node name "vnode-a-b-c" is used by '
                    "clusters[0].pools[0] too; set another nodeName"
                ],
                id="node name twice",
            ),
            pytest.param(
                POOLS + "  - {}\n" + "  - name: b\n    port: 10250\n",
                [
                    "config.yaml:7: clusters[0].pools[1]: port 10250 is used by "
                    "clusters[0].pools[0] too; set another port"
                ],
                id="port twice",
            ),
            pytest.param(
                TENANT
                + "kubelet: {basePort: 65535}\nclusters:\n"
                + "- {name: a, kubeconfig: k, pools: [{name: x}, {name: y}]}\n",
                [
                    "config.yaml:4: clusters[0].pools[1]: port 65536 is above 65535; "
                    "lower kubelet.basePort or set port"
                ],
                id="port too high",
            ),
            pytest.param(
                TENANT
                + "kubelet: {advertise: 10.0.0.9, basePort: 11249}\nclusters:\n"
                + "- {name: a, kubeconfig: k, pools: [{name: x}, {name: y}]}\n",
                [
                    "config.yaml:2: kubelet.passedPort: port 11250 for vnode-a-x is used by "
                    "clusters[0].pools[1]; set another one"
                ],
                id="passed port twice",
            ),
            pytest.param(
                TENANT
                + f"clusters:\n- name: {'a' * 40}\n  kubeconfig: k\n"
                + f"  pools:\n  - name: {'b' * 40}\n",
                [
                    f'config.yaml:6: clusters[0].pools[0]: node name "vnode-{"a" * 40}-{"b" * 40}" '
                    "is longer than 63 characters; set nodeName"
                ],
                id="node name too long",
            ),
            pytest.param(
                CLUSTERS + "  namespaces: {mode: same, table: {a: b}}\n",
                [
                    "config.yaml:5: clusters[0].namespaces.table: only mode map has a table, "
                    "this is mode same; remove it or set mode: map"
                ],
                id="table without mode map",
            ),
            pytest.param(
                CLUSTERS + "  namespaces: {mode: map}\n",
                [
                    "config.yaml:5: clusters[0].namespaces.table: is missing; "
                    "mode map needs an entry for each tenant namespace"
                ],
                id="mode map without table",
            ),
            pytest.param(
                CLUSTERS
                + "  namespaces:\n    mode: map\n"
                + "    table:\n      x: shared\n      y: shared\n",
                [
                    'config.yaml:9: clusters[0].namespaces.table.y: "shared" is used twice; '
                    "each tenant namespace needs its own"
                ],
                id="two namespaces in one",
            ),
            pytest.param(
                CLUSTERS + "  namespaces: {labels: {a: b}}\n",
                [
                    "config.yaml:5: clusters[0].namespaces.labels: is only for namespaces that the "
                    "agent makes; set create: OnDemand"
                ],
                id="labels of namespaces that nobody makes",
            ),
            pytest.param(
                CLUSTERS + "  namespaces: {reclaim: Delete}\n",
                [
                    "config.yaml:5: clusters[0].namespaces.reclaim: is only for namespaces that "
                    "the agent makes; set create: OnDemand"
                ],
                id="deletion of namespaces that others make",
            ),
            pytest.param(
                "tenant: {name: demo, namespaces: [a]}\n"
                "clusters:\n- name: gpu\n  kubeconfig: gpu\n"
                "  namespaces: {create: OnDemand, reclaim: Delete}\n"
                "  pools: [{capacity: {sources: [nodes]}}]\n",
                [
                    "config.yaml:5: clusters[0].namespaces.reclaim: Delete needs to see when "
                    "tenant namespaces go, which it cannot with a list of them; remove "
                    "tenant.namespaces or set reclaim: Retain"
                ],
                id="deletion with a list of namespaces",
            ),
            pytest.param(
                CLUSTERS
                + "  namespaces: {create: OnDemand, labels: {vnode.dev/tenant: blue}}\n"
                + "  pools: [{capacity: {sources: [nodes]}}]\n",
                [
                    "config.yaml:5: clusters[0].namespaces.labels.vnode.dev/tenant: says whose a "
                    "namespace is; remove it"
                ],
                id="our own label",
            ),
            pytest.param(
                CLUSTERS + "  pools: [{name: default, pvc: fluid}]\n",
                [
                    "config.yaml:3: clusters[0].policy.fluid: is missing; pvc: fluid needs at "
                    "least the profiles that claims may name, like {profiles: [my-profile]}"
                ],
                id="Fluid without profiles",
            ),
            pytest.param(
                CLUSTERS + "  policy: {fluid: {profiles: [a]}}\n",
                [
                    "config.yaml:5: clusters[0].policy.fluid: is not used; set pvc: fluid, in "
                    "policy or in a pool"
                ],
                id="Fluid that nobody uses",
            ),
            pytest.param(
                CLUSTERS
                + "  policy: {pvc: fluid, fluid: {profiles: [a]}}\n"
                + "  namespaces: {create: OnDemand}\n"
                + "  pools: [{capacity: {sources: [nodes]}}]\n",
                [
                    "config.yaml:6: clusters[0].namespaces.create: pvc: fluid needs prepared "
                    "namespaces; set create: Never, or another pvc"
                ],
                id="Fluid in namespaces made on demand",
            ),
            pytest.param(
                CLUSTERS
                + "  policy:\n    pvc: fluid\n    fluid:\n      profiles: [a]\n"
                + "      volumes:\n      - {driver: a/b, volumeHandles: [c]}\n",
                [
                    'config.yaml:10: clusters[0].policy.fluid.volumes[0].driver: "a/b" is not the '
                    "name of a CSI driver; write it like nas.csi.example.com"
                ],
                id="a driver with a slash",
            ),
            pytest.param(
                CLUSTERS + "  namespaces: {create: OnDemand}\n  pools: [{name: default}]\n",
                [
                    "config.yaml:6: clusters[0].pools[0].capacity.sources: quota alone shows no "
                    "capacity before the first namespace is made, so no pod would ever need one; "
                    "add static or nodes, or set namespaces.create: Never"
                ],
                id="quotas of namespaces that are not there yet",
            ),
            pytest.param(
                "tenant: {name: demo, namespaces: [x, y]}\n"
                + "clusters:\n- name: a\n  kubeconfig: k\n"
                + "  namespaces: {mode: map, table: {x: z}}\n",
                [
                    'config.yaml:5: clusters[0].namespaces.table: has no entry for "y"; '
                    "add it, or remove it from tenant.namespaces"
                ],
                id="namespace without entry",
            ),
            pytest.param(
                POOLS + "  - nodeSelector:\n      train: true\n",
                [
                    "config.yaml:7: clusters[0].pools[0].nodeSelector.train: true is not text; "
                    "put it in quotes"
                ],
                id="unquoted label",
            ),
            pytest.param(
                POOLS + "  - declaredFeatures: [resize]\n",
                [
                    'config.yaml:6: clusters[0].pools[0].declaredFeatures[0]: "resize" is not the '
                    "name of a kubelet feature; write it like MyFeature"
                ],
                id="feature name",
            ),
            pytest.param(
                POOLS + "  - labels: {'a b': c}\n",
                [
                    'config.yaml:6: clusters[0].pools[0].labels.a b: "a b" is not a label key; '
                    "write it like name or example.com/name"
                ],
                id="label key",
            ),
            pytest.param(
                POOLS + "  - tolerations:\n    - {operator: Equal, value: x}\n",
                [
                    "config.yaml:7: clusters[0].pools[0].tolerations[0]: key is missing; "
                    "give one, or set operator: Exists for all taints"
                ],
                id="toleration",
            ),
            pytest.param(
                POOLS + "  - capacity: {sources: [static]}\n",
                [
                    "config.yaml:6: clusters[0].pools[0].capacity.static: is missing; "
                    'source static needs numbers, like {cpu: "64", memory: 512Gi, pods: "110"}'
                ],
                id="static without numbers",
            ),
            pytest.param(
                POOLS + "  - capacity: {static: {pods: 1}}\n",
                [
                    "config.yaml:6: clusters[0].pools[0].capacity.static: is not used; "
                    "add static to sources or remove it"
                ],
                id="numbers without static",
            ),
            pytest.param(
                POOLS + "  - capacity: {sources: [static], static: {cpu: 64}}\n",
                [
                    'config.yaml:6: clusters[0].pools[0].capacity.static: has no "pods", '
                    'so no pod would fit; add it, like pods: "110"'
                ],
                id="static without pods",
            ),
            pytest.param(
                POOLS + "  - capacity: {sources: [quota, quota]}\n",
                [
                    "config.yaml:6: clusters[0].pools[0].capacity.sources[1]: "
                    "quota is listed twice; remove one"
                ],
                id="source twice",
            ),
            pytest.param(
                POOLS + "  - capacity: {sources: [static], static: {pods: 5, memory: 5GB}}\n",
                [
                    'config.yaml:6: clusters[0].pools[0].capacity.static.memory: "5GB" is not a '
                    'Kubernetes quantity; write it like "64", "500m" or "512Gi"'
                ],
                id="quantity",
            ),
            pytest.param(
                POOLS + "  - capacity: {sources: [static], static: {pods: -5, cpu: 1e100}}\n",
                [
                    "config.yaml:6: clusters[0].pools[0].capacity.static.pods: "
                    "-5 is negative; write 0 or more",
                    "config.yaml:6: clusters[0].pools[0].capacity.static.cpu: "
                    '"1e100" is not a Kubernetes quantity; write it like "64", "500m" or "512Gi"',
                ],
                id="quantity out of range",
            ),
        ],
    )
    def test_a_wrong_file_is_explained(
        self, tmp_path: Path, text: str, problems: list[str]
    ) -> None:
        assert errors_of(written(tmp_path, text)) == problems

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        assert errors_of(tmp_path / "nowhere.yaml") == [
            "nowhere.yaml: no such file; check the path, or start from config/example.yaml"
        ]

    def test_a_folder_is_no_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").mkdir()

        assert errors_of(tmp_path / "config.yaml") == [
            "config.yaml: cannot be read (Is a directory); check its type and permissions"
        ]

    def test_bytes_that_are_no_text_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_bytes(b"tenant: \xff")

        assert errors_of(tmp_path / "config.yaml") == [
            "config.yaml: is not UTF-8 text; save it as UTF-8"
        ]

    def test_long_values_are_cut(self, tmp_path: Path) -> None:
        (problem,) = errors_of(
            written(tmp_path, f"tenant: {{name: {'A' * 500}}}\nclusters:\n{CLUSTER}")
        )

        assert len(problem) < 250

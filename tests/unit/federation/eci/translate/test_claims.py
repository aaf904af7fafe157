"""A pod with a claim becomes a group with what the claim needs, or is refused by field."""

import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from federation.backends.eci.parameters import flatten
from federation.backends.eci.translate.claims import Brought
from federation.backends.eci.translate.limits import CONTAINERS, VOLUMES
from federation.backends.eci.translate.policy import EciFeature, RegistryLogin
from federation.backends.eci.translate.spec import Resources
from tests.unit.federation.eci.translate.builders import POLICY, TRUSTING, check, grouped, secret
from tests.unit.federation.translate.builders import make_container, make_pod, make_spec
from vnode.backend import Rejected, Waiting

LINES = {"options": [{"name": "ndots", "value": "2"}, {"name": "edns0\nsearch evil.example"}]}
OPEN = replace(TRUSTING, claims=True)
CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
MOUNT = {"name": "v", "mountPath": "/data"}
SIDECAR = Brought(
    ({"Name": "v", "Type": "EmptyDirVolume"}, {"Name": "fluid-fuse-0-conf"}),
    {"Name": "fluid-fuse-0", "Image": "registry.example.com/starfs:1"},
    image="registry.example.com/starfs:1",
    propagation="HostToContainer",
)
SHARE = Brought(({"Name": "v", "Type": "NFSVolume"},), read_only=True)


def group(found: Brought = SIDECAR, policy: Any = OPEN, **spec: Any) -> Any:
    containers = [make_container(volumeMounts=[MOUNT])]
    full = make_spec(**{"containers": containers, "volumes": [CLAIM], **spec})
    return grouped(full, policy=policy, claims={"v": found})


@pytest.mark.parametrize(
    ("asked", "cpu", "memory"),
    [
        ({"requests": {"cpu": "2", "memory": "4Gi"}}, 4, 8),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, 2, 2),
        ({}, 2, 4),
    ],
)
def test_a_sidecars_resources_are_bought_too(asked: Any, cpu: int, memory: int) -> None:
    resources = Resources(requests={"cpu": "500m", "memory": "2Gi"}, limits={"memory": "1Gi"})
    containers = [make_container(volumeMounts=[MOUNT], resources=asked)]
    found = group(replace(SIDECAR, resources=resources), containers=containers)
    assert (found["Cpu"], found["Memory"]) == (cpu, memory)


def field(found: Brought = SIDECAR, **spec: Any) -> str:
    """The field by which the pod is refused."""
    with pytest.raises(Rejected) as rejected:
        group(found, **spec)
    assert rejected.value.field is not None
    return rejected.value.field


def test_the_sidecar_stands_beside_the_containers_that_see_what_it_mounts() -> None:
    found = group()

    assert [one["Name"] for one in found["Container"]] == ["main", "fluid-fuse-0"]
    assert [one["Name"] for one in found["Volume"]] == ["v", "fluid-fuse-0-conf"]
    flat = flatten(found)
    assert flat["Container.1.VolumeMount.1.MountPropagation"] == "HostToContainer"
    assert flat["Container.1.VolumeMount.1.ReadOnly"] == "false"


def test_what_eci_mounts_itself_is_a_volume_alone() -> None:
    found = group(SHARE)

    assert [one["Name"] for one in found["Container"]] == ["main"]
    flat = flatten(found)
    assert "Container.1.VolumeMount.1.MountPropagation" not in flat
    assert flat["Container.1.VolumeMount.1.ReadOnly"] == "true"


def test_the_sidecars_image_has_the_platforms_login() -> None:
    login = RegistryLogin("registry.example.com", "robot", "hush")
    found = group(policy=replace(OPEN, registry_logins=(login,)))
    [credential] = found["ImageRegistryCredential"]
    assert credential["Server"] == "registry.example.com"


def test_a_tenants_login_is_not_used_for_the_sidecars_image() -> None:
    ours = RegistryLogin("registry.example.com", "robot", "hush")
    policy = replace(OPEN, registry_logins=(ours,))
    auths = {"auths": {"registry.example.com": {"username": "t", "password": "p"}}}
    mine = secret("mine", {".dockerconfigjson": json.dumps(auths)})

    def pulled(image: str) -> Any:
        main = make_container(image=image, volumeMounts=[MOUNT])
        pulls = [{"name": "mine"}]
        spec = make_spec(containers=[main], volumes=[CLAIM], imagePullSecrets=pulls)
        found = grouped(spec, mine, policy=policy, claims={"v": SIDECAR})
        return [one["UserName"] for one in found["ImageRegistryCredential"]]

    assert pulled("busybox") == ["robot"]
    with pytest.raises(Rejected, match="one login for each registry") as rejected:
        pulled("registry.example.com/mine/app:1")
    assert "hush" not in str(rejected.value)


def test_a_tenants_login_for_a_part_of_the_registry_does_not_go_before_the_platforms() -> None:
    ours = RegistryLogin("registry.example.com", "robot", "hush")
    policy = replace(OPEN, registry_logins=(ours,))

    def sent(server: str) -> Any:
        auths = {"auths": {server: {"username": "t", "password": "p"}}}
        mine = secret("mine", {".dockerconfigjson": json.dumps(auths)})
        main = make_container(image=f"{server}/app:1", volumeMounts=[MOUNT])
        pulls = [{"name": "mine"}]
        spec = make_spec(containers=[main], volumes=[CLAIM], imagePullSecrets=pulls)
        found = grouped(spec, mine, policy=policy, claims={"v": SIDECAR})
        return {one["Server"]: one["UserName"] for one in found["ImageRegistryCredential"]}

    assert sent("registry.example.com/mine") == {
        "registry.example.com/mine": "t",
        "registry.example.com": "robot",
    }
    with pytest.raises(Rejected, match="one login for each registry") as rejected:
        sent("registry.example.com/star")
    assert rejected.value.field == "spec.imagePullSecrets"


def test_a_pod_with_a_claim_waits_where_none_can_be_had() -> None:
    with pytest.raises(Waiting) as waiting:
        check(POLICY, volumes=[CLAIM])
    assert waiting.value.reason == "VolumeNotSupported"
    check(OPEN, volumes=[CLAIM])


def test_a_claim_that_no_container_mounts_is_no_part_of_the_group() -> None:
    spec = make_spec(volumes=[CLAIM])
    assert not grouped(spec, policy=OPEN)["Volume"]
    with pytest.raises(Waiting):
        grouped(make_spec(containers=[make_container(volumeMounts=[MOUNT])], volumes=[CLAIM]))


def test_containers_do_not_share_processes_with_a_sidecar() -> None:
    assert field(shareProcessNamespace=True) == "spec.shareProcessNamespace"
    group(SHARE, shareProcessNamespace=True)


def test_that_nothing_runs_as_root_is_not_said_of_the_sidecar() -> None:
    main, sidecar = group(securityContext={"runAsNonRoot": True, "runAsUser": 1000})["Container"]
    assert main["SecurityContextRunAsNonRoot"] is True
    assert not sidecar.get("SecurityContextRunAsNonRoot")


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["nas"]}]}, "hostAliases"),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"]}}, "dnsPolicy"),
        ({"dnsConfig": {"nameservers": ["192.0.2.1"]}}, "dnsConfig.nameservers"),
        ({"dnsConfig": {"searches": ["evil.example"]}}, "dnsConfig.searches"),
        ({"dnsConfig": LINES}, "dnsConfig.options[1]"),
        ({"hostnameOverride": "nas.example.com"}, "hostnameOverride"),
    ],
)
def test_a_pod_does_not_say_where_names_lead_its_sidecar(spec: dict[str, Any], where: str) -> None:
    assert field(**spec) == f"spec.{where}"
    group(SHARE, **spec)


def test_a_pod_is_not_called_like_the_server_of_its_sidecar() -> None:
    spec = make_spec(containers=[make_container(volumeMounts=[MOUNT])], volumes=[CLAIM])
    pod = make_pod(spec)
    pod = structs.replace(pod, metadata=structs.replace(pod.metadata, name="nas.example.com"))
    with pytest.raises(Rejected, match="without a dot"):
        grouped(pod=pod, policy=OPEN, claims={"v": SIDECAR})
    assert grouped(pod=pod, policy=OPEN, claims={"v": SHARE})["HostName"] == "nas.example.com"


@pytest.mark.parametrize("part", ["containers", "initContainers"])
def test_who_may_redirect_packets_has_no_sidecar(part: str) -> None:
    policy = replace(OPEN, allow=frozenset({EciFeature.CAPABILITIES}))
    may = {"capabilities": {"add": ["NET_ADMIN"]}}
    spec: dict[str, Any] = {part: [make_container(name="c", securityContext=may)]}
    where = f"spec.{part}[0].securityContext.capabilities.add"
    assert field(policy=policy, **spec) == where
    group(SHARE, policy, **spec)


def test_init_containers_would_find_an_empty_directory() -> None:
    first = [make_container(name="first", volumeMounts=[MOUNT])]
    assert field(initContainers=first) == "spec.initContainers[0].volumeMounts[0]"
    group(SHARE, initContainers=first)


def test_a_part_of_what_a_sidecar_mounts_cannot_be_mounted() -> None:
    part = [make_container(volumeMounts=[{**MOUNT, "subPath": "a"}])]
    assert field(containers=part) == "spec.containers[0].volumeMounts[0].subPath"
    group(SHARE, containers=part)


@pytest.mark.parametrize("name", ["fluid-fuse-0", "init-fluid-fuse-0"])
def test_no_container_has_a_name_by_which_sidecars_are_hidden(name: str) -> None:
    for policy in (OPEN, POLICY):
        with pytest.raises(Rejected) as rejected:
            check(policy, containers=[make_container(name=name)])
        assert rejected.value.field == "spec.containers[0].name"


def test_no_volume_has_a_name_of_those_of_sidecars() -> None:
    for policy in (OPEN, POLICY):
        with pytest.raises(Rejected) as rejected:
            check(policy, volumes=[{"name": "fluid-fuse-0-secret", "emptyDir": {}}])
        assert rejected.value.field == "spec.volumes[0].name"


def test_sidecars_count_as_containers_and_volumes() -> None:
    many = [make_container(name=f"c{i}") for i in range(CONTAINERS)]
    assert field(containers=many) == "spec.containers"
    group(containers=many[1:])
    more = [{"name": f"e{i}", "emptyDir": {}} for i in range(VOLUMES - 1)]
    assert field(volumes=[CLAIM, *more]) == "spec.volumes"
    group(volumes=[CLAIM, *more[1:]])

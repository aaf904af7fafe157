"""Claims of pods that run as container groups: the same rules and reasons as where Fluid is."""

import base64
import json
from typing import Any

import msgspec
import pytest

from federation.backends.eci.translate.claims import Brought
from federation.claims.objects import PERSISTENT_VOLUMES, Claim
from federation.claims.placeholder import placeholder, placeholder_name
from federation.fluid.groups import GroupClaims
from federation.fluid.profiles import Thin
from tests.builders import OWNER, make_error, make_pod
from tests.fakes.client import RecordingClient
from tests.unit.federation.fluid.builders import (
    ALLOWED,
    PROFILE,
    Allowed,
    make_claim,
    make_volume,
)
from vnode.backend import Waiting
from vnode.kube.resources import SECRETS
from vnode.kube.types import ObjectKey

THIN = msgspec.convert({"fuse": {"image": "starfs-mount", "imageTag": "v1"}}, Thin)
BUCKETS = Allowed("ossplugin.csi.alibabacloud.com", attributes={"bucket": ("b",), "url": ("u",)})
SHARES = Allowed("nfs.csi.k8s.io", attributes={"server": ("nas",), "share": ("/team-a/*",)})
KEY = {"nodePublishSecretRef": {"name": "key", "namespace": "team-a"}}


class Tenant:
    """A tenant with claim `data`, and what the account makes of it."""

    def __init__(self, claim: Claim | None = None, volume: Any = None, **volumes: Any) -> None:
        self.client = RecordingClient()
        self.claim = claim
        if claim is not None:
            there = volume or make_volume(uid=claim.metadata.uid, **volumes)
            self.client.put(PERSISTENT_VOLUMES, there)

    def have_key(self, **data: str) -> None:
        """The Secret that the volume names; `data` is base64."""
        self.client.put(SECRETS, {"metadata": {"name": "key", "namespace": "team-a"}, "data": data})

    async def brought(self, *, secrets: bool = True, thin: Thin = THIN, **source: Any) -> Brought:
        claims = GroupClaims(
            self.client.client,
            claim=lambda key: self.claim if key == ObjectKey("team-a", "data") else None,
            profiles={PROFILE: thin},
            volumes=[ALLOWED, BUCKETS, SHARES],
            secrets=secrets,
        )
        mounted = {"name": "v", "persistentVolumeClaim": {"claimName": "data", **source}}
        container = {"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}
        volumes = [{"name": "tmp", "emptyDir": {}}, mounted]
        pod = make_pod(volumes=volumes, containers=[container])
        found = await claims.of(pod)
        assert list(found) == ["v"]
        return found["v"]

    async def why(self, **options: Any) -> tuple[str, str]:
        """Reason and message with which the pod waits."""
        with pytest.raises(Waiting) as waiting:
            await self.brought(**options)
        assert waiting.value.not_done
        return waiting.value.reason, str(waiting.value)


def config_of(found: Brought) -> Any:
    volume: Any = found.volumes[1]
    [file] = volume["ConfigFileVolume"]["ConfigFileToPath"]
    return json.loads(base64.b64decode(file["Content"]))


async def test_a_labelled_claim_is_read_by_its_profiles_client() -> None:
    found = await Tenant(make_claim()).brought()

    assert (found.image, found.volumes[0]["Name"]) == ("starfs-mount:v1", "v")
    assert found.sidecar is not None
    assert found.sidecar["Name"] == "fluid-fuse-1"
    told = config_of(found)
    assert told["mounts"] == [{"mountPoint": "pvc://data", "name": "data", "options": {}}]
    assert told["accessModes"] == ["ReadWriteMany"]
    assert told["persistentVolumeAttrs"]["data"]["volumeHandle"] == "team-a/training"


async def test_what_a_client_is_to_have_is_known_without_a_call() -> None:
    asked = {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}}
    thin = msgspec.convert({"fuse": {"image": "starfs-mount", "resources": asked}}, Thin)
    tenant = Tenant(make_claim())
    claims = GroupClaims(
        tenant.client.client,
        claim=lambda _: tenant.claim,
        profiles={PROFILE: thin},
        volumes=[ALLOWED],
        secrets=True,
    )
    container = {"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    pod = make_pod(containers=[container], volumes=volumes)
    assert claims.beside(pod) == [thin.fuse.resources]
    assert tenant.client.calls == []
    assert (await claims.of(pod))["v"].resources == thin.fuse.resources
    assert claims.beside(make_pod(containers=[container])) == []


async def test_a_pod_without_claims_asks_nobody() -> None:
    tenant = Tenant()
    claims = GroupClaims(
        tenant.client.client, claim=lambda _: None, profiles={}, volumes=[], secrets=True
    )
    assert await claims.of(make_pod()) == {}
    assert tenant.client.calls == []


async def test_a_claim_that_no_container_mounts_is_nobodys_matter() -> None:
    tenant = Tenant()
    claims = GroupClaims(
        tenant.client.client, claim=lambda _: None, profiles={}, volumes=[], secrets=True
    )
    unused = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    assert await claims.of(make_pod(volumes=[unused])) == {}


async def test_a_claim_without_profile_is_mounted_by_eci_where_it_can() -> None:
    csi = {"driver": SHARES.driver, "volumeAttributes": {"server": "nas", "share": "/team-a/x"}}
    found = await Tenant(make_claim(profile=""), csi=csi).brought(readOnly=True)

    assert found.sidecar is None
    assert found.read_only
    nfs = {"Server": "nas", "Path": "/team-a/x", "ReadOnly": True}
    assert found.volumes == ({"Name": "v", "Type": "NFSVolume", "NFSVolume": nfs},)


async def test_the_secret_of_a_volume_is_read_where_the_rules_allow_the_volume() -> None:
    tenant = Tenant(make_claim(), csi=KEY)
    tenant.have_key(token=base64.b64encode(b"hush").decode())
    found = await tenant.brought()

    volume: Any = found.volumes[2]
    assert volume["ConfigFileVolume"]["ConfigFileToPath"][0]["Path"] == "token"
    assert "hush" not in repr(found)


def unbound() -> Claim:
    claim = make_claim()
    return msgspec.structs.replace(claim, spec=msgspec.structs.replace(claim.spec, volume_name=""))


NOT_USABLE = 'the volume of PersistentVolumeClaim "data" cannot be used here: '


@pytest.mark.parametrize(
    ("tenant", "reason", "words"),
    [
        (Tenant(), "PersistentVolumeClaimNotFound", "not found"),
        (
            Tenant(make_claim(deletionTimestamp="2026-01-01T00:00:00Z")),
            "PersistentVolumeClaimNotFound",
            "is being deleted",
        ),
        (Tenant(make_claim(profile="other")), "RuntimeProfileNotAllowed", '"other"'),
        (Tenant(unbound()), "DatasetNotReady", "not bound to a volume yet"),
        (
            Tenant(make_claim(), csi={"driver": "other.example.com"}),
            "VolumeNotSupported",
            f'{NOT_USABLE}the platform does not allow CSI driver "other.example.com"',
        ),
        (
            Tenant(make_claim(), csi={"volumeHandle": "team-b/secret"}),
            "VolumeNotSupported",
            f"{NOT_USABLE}the platform does not allow its volumeHandle",
        ),
        (
            Tenant(make_claim(), csi={"volumeAttributes": {"root": "/"}}),
            "VolumeNotSupported",
            f'{NOT_USABLE}the platform does not allow its volumeAttribute "root"',
        ),
        (
            Tenant(make_claim(), make_volume(uid="another")),
            "VolumeNotSupported",
            f"{NOT_USABLE}it is not bound to this claim",
        ),
        (
            Tenant(
                make_claim(), csi={"nodePublishSecretRef": {"name": "key", "namespace": "kube"}}
            ),
            "VolumeNotSupported",
            "names a Secret outside of the claim's namespace",
        ),
        (Tenant(make_claim(), csi=KEY), "MandatorySecretNotFound", 'Secret "key"'),
        (
            Tenant(make_claim(profile="")),
            "VolumeNotSupported",
            f"{NOT_USABLE}it names no runtime profile, and ECI cannot mount its volume itself",
        ),
    ],
)
async def test_a_pod_waits_with_the_reason(tenant: Tenant, reason: str, words: str) -> None:
    found = await tenant.why()
    assert found[0] == reason
    assert words in found[1]


async def test_a_volume_that_does_not_exist_is_waited_for() -> None:
    tenant = Tenant(make_claim())
    tenant.client.drop(PERSISTENT_VOLUMES, ObjectKey("", "starfs"))
    assert await tenant.why() == (
        "DatasetNotReady",
        'the data of PersistentVolumeClaim "data" is being prepared: its volume does not exist',
    )


async def test_data_that_lies_in_another_cluster_does_not_come_here() -> None:
    claim = make_claim()
    name = placeholder_name(claim.metadata.uid)
    claim = msgspec.structs.replace(
        claim, spec=msgspec.structs.replace(claim.spec, volume_name=name)
    )
    reason, text = await Tenant(claim, placeholder(claim, owner=OWNER)).why()
    assert (reason, "does not allow CSI driver" in text) == ("VolumeNotSupported", True)


async def test_no_secret_is_read_where_none_may_be_written_into_groups() -> None:
    tenant = Tenant(make_claim(), csi=KEY)
    tenant.have_key(token="aHVzaA==")
    reason, text = await tenant.why(secrets=False)
    assert reason == "VolumeNotSupported"
    assert "does not write values of Secrets" in text
    assert [call.plural for call in tenant.client.calls] == ["persistentvolumes"]


async def test_a_secret_that_nobody_needs_is_never_read() -> None:
    without = msgspec.structs.replace(THIN, node_publish_secret_policy="NotMountNodePublishSecret")
    tenant = Tenant(make_claim(), csi=KEY)
    assert len((await tenant.brought(secrets=False, thin=without)).volumes) == 2
    csi = {"driver": SHARES.driver, "volumeAttributes": {"server": "nas", "share": "/team-a/x"}}
    share = Tenant(make_claim(profile=""), csi={**csi, **KEY})
    assert len((await share.brought(secrets=False)).volumes) == 1
    for one in (tenant, share):
        assert [call.plural for call in one.client.calls] == ["persistentvolumes"]


async def test_a_secret_that_is_refused_by_the_rules_is_never_read() -> None:
    tenant = Tenant(make_claim(), csi={"driver": "other.example.com", **KEY})
    tenant.have_key(token="aHVzaA==")
    await tenant.why()
    assert [call.plural for call in tenant.client.calls] == ["persistentvolumes"]


async def test_a_tenant_that_does_not_answer_is_waited_for_without_its_words() -> None:
    tenant = Tenant(make_claim())
    tenant.client.fail(make_error(403), "get persistentvolumes")
    assert await tenant.why() == (
        "PersistentVolumeClaimUnknown",
        'PersistentVolumeClaim "data" cannot be read now',
    )

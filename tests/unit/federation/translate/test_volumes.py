"""Volumes below: references renamed, tokens from our Secret, identity from annotations."""

from typing import Any

import pytest

from federation.backends.kubernetes.translate.fields import VOLUME
from federation.backends.kubernetes.translate.policy import PvcMode, TranslationPolicy
from federation.backends.translation.rules import Action
from tests.unit.federation.translate.builders import TOKEN_SECRET, spec_below
from vnode.backend import Rejected, TokenKey, Waiting
from vnode.pods.objects.references import token_requests

API_ACCESS: dict[str, Any] = {
    "name": "kube-api-access-x7k2p",
    "projected": {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {
                "configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }
            },
            {
                "downwardAPI": {
                    "items": [
                        {
                            "path": "namespace",
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                        }
                    ]
                }
            },
        ],
    },
}


def volume_below(policy: TranslationPolicy | None = None, **source: Any) -> Any:
    volumes = [{"name": "v", **source}]
    return spec_below(policy or TranslationPolicy(), volumes=volumes)["volumes"][0]


def projected_below(*sources: Any, name: str = "v") -> Any:
    volumes = [{"name": name, "projected": {"sources": list(sources)}}]
    return spec_below(volumes=volumes)["volumes"][0]["projected"]["sources"]


def test_the_api_access_volume_holds_the_tenants_token_ca_and_namespace() -> None:
    below = spec_below(volumes=[API_ACCESS])["volumes"][0]
    token = {"key": TokenKey("", 43200).data_key, "path": "token"}
    assert below["projected"]["defaultMode"] == 420
    assert below["projected"]["sources"] == [
        {"secret": {"name": TOKEN_SECRET, "items": [token]}},
        {
            "configMap": {
                "name": "vnode-kube-root-ca.crt",
                "items": [{"key": "ca.crt", "path": "ca.crt"}],
            }
        },
        {
            "downwardAPI": {
                "items": [
                    {
                        "path": "namespace",
                        "fieldRef": {
                            "apiVersion": "v1",
                            "fieldPath": "metadata.annotations['vnode.dev/namespace']",
                        },
                    }
                ]
            }
        },
    ]


def test_every_token_that_is_mounted_is_one_that_is_requested() -> None:
    sources = [
        {"serviceAccountToken": {"path": "a"}},
        {"serviceAccountToken": {"path": "b", "audience": "vault", "expirationSeconds": 600}},
    ]
    volumes = [API_ACCESS, {"name": "v", "projected": {"sources": sources}}]
    below = spec_below(volumes=volumes)["volumes"]
    mounted = {
        item["key"]
        for volume in below
        for source in volume["projected"]["sources"]
        for item in source.get("secret", {}).get("items", ())
    }
    assert mounted == {key.data_key for key in token_requests({"volumes": volumes})}
    assert len(mounted) == 3


def test_a_token_of_the_compute_cluster_is_never_mounted() -> None:
    below = spec_below(automountServiceAccountToken=True, serviceAccountName="launcher")
    assert below["automountServiceAccountToken"] is False
    assert below["serviceAccountName"] == "default"
    assert "serviceAccountToken" not in str(spec_below(volumes=[API_ACCESS]))


def test_a_token_audience_that_no_secret_key_can_hold_is_refused() -> None:
    with pytest.raises(Rejected, match="audience") as refused:
        projected_below({"serviceAccountToken": {"path": "a", "audience": "x" * 130}})
    assert refused.value.field == "spec.volumes[0].projected.sources"


def test_secrets_and_config_maps_keep_their_items_and_modes() -> None:
    items = [{"key": "id", "path": ".ssh/id_rsa", "mode": 0o400}]
    secret = {"secretName": "ssh", "defaultMode": 0o600, "items": items, "optional": True}
    config_map = {"name": "job-config", "defaultMode": 0o555, "items": items}
    assert volume_below(secret=secret)["secret"] == secret
    assert volume_below(configMap=config_map)["configMap"] == config_map
    assert projected_below(
        {"secret": {"name": "a", "items": items}, "configMap": {"name": "b"}}
    ) == [{"secret": {"name": "a", "items": items}, "configMap": {"name": "b"}}]


def test_volumes_of_reserved_names_follow_the_copy() -> None:
    assert volume_below(configMap={"name": "kube-root-ca.crt"})["configMap"] == {
        "name": "vnode-kube-root-ca.crt"
    }
    assert volume_below(secret={"secretName": TOKEN_SECRET})["secret"] == {
        "secretName": f"vnode-{TOKEN_SECRET}"
    }


def test_pull_secrets_are_kept() -> None:
    assert spec_below(imagePullSecrets=[{"name": "registry"}])["imagePullSecrets"] == [
        {"name": "registry"}
    ]


def test_downward_files_of_resources_are_native() -> None:
    items = [{"path": "f", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}}]
    assert volume_below(downwardAPI={"items": items})["downwardAPI"] == {"items": items}


@pytest.mark.parametrize(
    "source",
    [
        {"emptyDir": {}},
        {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"image": {"reference": "registry.example/data:1", "pullPolicy": "Always"}},
    ],
)
def test_volumes_that_live_with_the_pod_are_kept(source: dict[str, Any]) -> None:
    assert volume_below(**source) == {"name": "v", **source}


def test_a_pod_waits_with_its_claim_unless_claims_are_shared() -> None:
    source: dict[str, Any] = {"persistentVolumeClaim": {"claimName": "workspace", "readOnly": True}}
    assert volume_below(TranslationPolicy(pvc=PvcMode.SHARED), **source) == {
        "name": "v",
        **source,
    }
    with pytest.raises(Waiting, match=r"spec.volumes\[0\].persistentVolumeClaim") as waiting:
        volume_below(**source)
    assert waiting.value.reason == "VolumeNotSupported"


NOT_HAD: dict[str, dict[str, Any]] = {
    "csi": {"csi": {"driver": "d"}},
    "ephemeral": {"ephemeral": {"volumeClaimTemplate": {}}},
    "nfs": {"nfs": {"server": "s", "path": "/"}},
    "projected.sources[0].clusterTrustBundle": {
        "projected": {"sources": [{"clusterTrustBundle": {"path": "p"}}]}
    },
    "projected.sources[0].podCertificate": {
        "projected": {"sources": [{"podCertificate": {"keyType": "ED25519"}}]}
    },
}


@pytest.mark.parametrize("where", NOT_HAD)
def test_a_pod_waits_for_a_volume_that_cannot_be_had_and_says_which(where: str) -> None:
    with pytest.raises(Waiting) as waiting:
        volume_below(**NOT_HAD[where])
    assert waiting.value.reason == "VolumeNotSupported"
    assert str(waiting.value).startswith(f"spec.volumes[0].{where}: ")


def test_every_volume_type_of_the_api_is_decided() -> None:
    kept = {"configMap", "downwardAPI", "emptyDir", "image", "projected", "secret"}
    by_policy = {"hostPath", "persistentVolumeClaim"}
    for name, row in VOLUME.rows.items():
        waits = row.action is Action.REJECT and row.waits_as == "VolumeNotSupported"
        assert waits == (name not in kept | by_policy | {"name"}), name

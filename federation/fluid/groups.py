"""What the claims of a pod need in a container group of ECI, by what the platform allows.

In: a tenant pod, the tenant's claims, and the configuration: profiles and rules for volumes. Out:
`Brought` for each volume that is a claim, or `Waiting` with the reasons of `judged`, the same as
where Fluid itself brings the files. There is no Fluid behind this, so nothing is made, and nothing
has to go afterwards: a Dataset is what the group's sidecar is told, a profile what it runs. The
tenant's API server is asked for volume and Secret once per create, as groups never change.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import structlog

from federation.backends.eci.translate.claims import Brought
from federation.backends.eci.translate.spec import Resources
from federation.backends.translation.rules import Refused
from federation.claims.objects import PERSISTENT_VOLUMES, Claim, SecretRef, Volume
from federation.fluid import judged
from federation.fluid.judged import Verdict
from federation.fluid.names import PROFILE_LABEL
from federation.fluid.profiles import Dataset, Mount, Thin
from federation.fluid.rules import VolumeRule, refusal
from federation.fluid.sidecar import Asked, brought, needed_secret
from vnode.backend import Waiting
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError, NotFound
from vnode.kube.resources import SECRETS
from vnode.kube.types import ObjectKey, Pod, Secret

__all__ = ["GroupClaims"]

_LOG = structlog.get_logger(__name__)


class _Source(msgspec.Struct, frozen=True, rename="camel"):
    claim_name: str = ""
    read_only: bool = False


class _Volume(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    persistent_volume_claim: _Source | None = None


class _Mount(msgspec.Struct, frozen=True):
    name: str = ""


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    volume_mounts: list[_Mount] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    volumes: list[_Volume] | None = None
    containers: list[_Container] = []
    init_containers: list[_Container] | None = None

    def mounted(self) -> set[str]:
        """Names of volumes that containers mount: of others nobody needs the files."""
        containers = (*self.containers, *(self.init_containers or ()))
        return {mount.name for one in containers for mount in one.volume_mounts or ()}


_SPEC = msgspec.json.Decoder(_Spec)


class GroupClaims:
    """The claims of one tenant for one account; a `ClaimSource`."""

    def __init__(
        self,
        tenant: KubeClient,
        *,
        claim: Callable[[ObjectKey], Claim | None],
        profiles: Mapping[str, Thin],
        volumes: Sequence[VolumeRule],
        secrets: bool,
    ) -> None:
        """Nothing is asked here.

        Args:
            tenant: client of the tenant cluster.
            claim: gives what the watch of claims has seen.
            profiles: ThinRuntimeProfiles that claims may name.
            volumes: what volumes may be like; others are refused.
            secrets: whether values of Secrets may be written into groups.
        """
        self._tenant = tenant
        self._claim = claim
        self._profiles = profiles
        self._volumes = volumes
        self._secrets = secrets

    async def of(self, pod: Pod) -> Mapping[str, Brought]:
        """See `ClaimSource.of`."""
        namespace, found = pod.metadata.namespace, dict[str, Brought]()
        for number, volume, source in _claims(_SPEC.decode(pod.spec)):
            key = ObjectKey(namespace, source.claim_name)
            try:
                found[volume] = await self._one(key, volume, source, number)
            except KubeError as error:
                _LOG.warning("a claim cannot be read", claim=str(key), why=str(error))
                text = f'PersistentVolumeClaim "{key.name}" cannot be read now'
                reason = "PersistentVolumeClaimUnknown"
                raise Waiting(text, reason=reason, not_done=True) from error
        return found

    def beside(self, pod: Pod) -> Sequence[Resources]:
        """See `ClaimSource.beside`: as the watch of claims has it."""
        spec = _SPEC.decode(pod.spec)
        thin = []
        for _, _, source in _claims(spec):
            claim = self._claim(ObjectKey(pod.metadata.namespace, source.claim_name))
            profile = None if claim is None else claim.metadata.labels.get(PROFILE_LABEL, "")
            thin.append(self._profiles.get(profile or ""))
        return [one.fuse.resources for one in thin if one is not None]

    async def _one(self, key: ObjectKey, volume: str, source: _Source, number: int) -> Brought:
        claim = self._claim(key)
        if claim is None:
            text = f'PersistentVolumeClaim "{key.name}" not found'
            raise Waiting(text, reason="PersistentVolumeClaimNotFound", not_done=True)
        _require(judged.unready(claim, self._profiles))
        uid, name = claim.metadata.uid, claim.metadata.name
        try:
            there = await self._tenant.get(PERSISTENT_VOLUMES, Volume, name=claim.spec.volume_name)
        except NotFound:
            there = None
        if there is None:
            raise _waiting(judged.preparing(uid, name, "its volume does not exist"))
        if why := refusal(claim, there, self._volumes):
            raise _waiting(judged.refused_volume(uid, name, why))
        profile = claim.metadata.labels.get(PROFILE_LABEL)
        thin = None if profile is None else self._profiles[profile]
        asked = Asked(
            namespace=key.namespace,
            claim=name,
            volume=volume,
            source=there.spec,
            # As `build.dataset` has it where Fluid is.
            dataset=Dataset(
                mounts=[Mount(mount_point=f"pvc://{name}", name="data")],
                access_modes=list(claim.spec.access_modes),
            ),
            thin=thin,
            number=number,
            read_only=source.read_only,
            secret=await self._secret(claim, needed_secret(there.spec.csi, thin)),
        )
        try:
            return brought(asked)
        except Refused as refused:
            raise _waiting(judged.refused_volume(uid, name, f"it {refused.text}")) from None

    async def _secret(self, claim: Claim, ref: SecretRef | None) -> Mapping[str, bytes] | None:
        """What is in a Secret, which is in the claim's namespace by `rules`."""
        if ref is None:
            return None
        uid, name = claim.metadata.uid, claim.metadata.name
        if not self._secrets:
            raise _waiting(judged.refused_key(uid, name))
        try:
            secret = await self._tenant.get(SECRETS, Secret, name=ref.name, namespace=ref.namespace)
            return {k: base64.b64decode(v, validate=True) for k, v in secret.data.items()}
        except NotFound:
            raise _waiting(judged.no_secret(uid, ref.name)) from None
        except (binascii.Error, ValueError):
            why = "its Secret holds something that is no base64"
            raise _waiting(judged.refused_volume(uid, name, why)) from None


def _claims(spec: _Spec) -> Iterator[tuple[int, str, _Source]]:
    """The pod's volumes that are claims and that it mounts: number, name, and which."""
    mounted = spec.mounted()
    for number, volume in enumerate(spec.volumes or ()):
        source = volume.persistent_volume_claim
        if source is not None and volume.name in mounted:
            yield number, volume.name, source


def _require(verdict: Verdict | None) -> None:
    if verdict is not None:
        raise _waiting(verdict)


def _waiting(verdict: Verdict) -> Waiting:
    return Waiting(verdict.message, reason=verdict.reason, not_done=True)

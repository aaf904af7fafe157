"""Creates, updates and deletes copies.

In: requests, and what is known of copies. Out: calls to the compute cluster, each conditional on a
UID, and their answers into `PodCopies` before the watch brings them. What the cluster refuses is
`Rejected` or `Waiting`. It knows no lifecycle rules, and whether a namespace is ready is asked
before by the backend.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NoReturn, TypeAlias

from federation.backends.kubernetes.claims import ClaimsBelow, claim_names
from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import (
    nothing_sent,
    pod_refused,
    waiting,
    webhook_refused,
)
from federation.backends.kubernetes.injection import lacks_sidecar, marked, refuse_redirected
from federation.backends.kubernetes.observe import observed_pod
from federation.backends.kubernetes.pod_copies import PodCopies
from federation.backends.kubernetes.pod_updates import carry_out
from federation.backends.kubernetes.prepared_claims import PreparedClaims
from federation.backends.kubernetes.translate.names import (
    START_GATE,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.pod import translate
from federation.backends.kubernetes.translate.policy import PvcMode, TranslationPolicy
from federation.backends.kubernetes.translate.update import Update, update
from vnode.backend import HeldBack, NameConflict, ObservedPod, PodRequest, Updated, Waiting
from vnode.kube.client import KubeClient, PatchType
from vnode.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from vnode.kube.resources import PODS
from vnode.kube.types import JSON, UID, JSONObject, NodeName, ObjectKey, Pod

ClaimJudge: TypeAlias = Callable[[str, Iterable[str]], Awaitable[None]]
"""Raises Waiting for claims of a tenant namespace that mean nothing below."""


class PodWriter:
    """Writes the copies of one tenant cluster in one compute cluster."""

    def __init__(
        self,
        client: KubeClient,
        copies: PodCopies,
        *,
        owner: Owner,
        mapping: NamespaceMapping,
        policies: Mapping[NodeName, TranslationPolicy],
        claims: ClaimsBelow,
        claim_check: ClaimJudge | None,
        prepared_claims: PreparedClaims | None,
        gates: Callable[[], bool],
        scope: Callable[[str], str],
        missing: Callable[[ObjectKey, UID], None],
    ) -> None:
        """Nothing is asked of the cluster here.

        Args:
            client: of the compute cluster.
            copies: what is known of copies, and told of writes.
            owner: who we are.
            mapping: where tenant namespaces lie.
            policies: the translation policy of each virtual node's pool.
            claims: what claims stand for below.
            claim_check: see `KubernetesBackend`.
            prepared_claims: see `KubernetesBackend`.
            gates: whether the cluster can make pods that do not start.
            scope: the store's scope of a compute namespace.
            missing: told of a copy that the cluster does not have any more, by its name below.
        """
        self._client = client
        self._copies = copies
        self._owner = owner
        self._mapping = mapping
        self._policies = policies
        self._claims = claims
        self._claim_check = claim_check
        self._prepared_claims = prepared_claims
        self._gates = gates
        self._scope = scope
        self._missing = missing

    def translated(self, request: PodRequest) -> JSONObject:
        """The pod that `create` would send. Raises Rejected."""
        return translate(
            request,
            owner=self._owner,
            namespaces=self._mapping,
            policy=self._policies[request.node],
        )

    async def create(self, request: PodRequest) -> ObservedPod:
        """See `PodBackend.apply`."""
        key, uid = request.pod.metadata.key, request.pod.metadata.uid
        known = self._copies.observed(key)
        with nothing_sent():
            prepared: tuple[str, ...] = ()
            if known is None or known.uid != uid:
                prepared = await self._require_claims(request)
            if (request.gated or prepared) and not self._gates():
                _refuse_ungated(asked=request.gated)
            body = self._body(request, prepared)
            copy = self._copies.observed(key)
            if copy is not None and copy.uid == uid:
                return copy  # Also one that came and went while we were on the way here.
            if copy is not None and not copy.gone:
                _refuse_predecessor()
        below = self._copies.below(key)
        try:
            # An older API server must not leave out a part of the pod and say nothing.
            made = await self._client.create(
                PODS, body, Pod, namespace=below.namespace, strict=True
            )
        except AlreadyExists:
            made = await self._adopt(request)
        except KubeError as error:
            names = Names(below.namespace, key.namespace)
            if prepared and (refused := webhook_refused(error, names=names)) is not None:
                raise refused from error
            raise pod_refused(error, names=names) from error
        else:
            if lacks_sidecar(made):
                await self._take_back(key, made)
        return self._remember(key, made)

    async def ungate(self, copy: ObservedPod) -> ObservedPod:
        """See `PodBackend.ungate`."""
        below = self._copies.below(copy.key)
        gates: JSON = [{"$patch": "delete", "name": START_GATE}]
        try:
            started = await self._client.patch(
                PODS,
                {"metadata": {"uid": copy.handle}, "spec": {"schedulingGates": gates}},
                Pod,
                name=below.name,
                namespace=below.namespace,
                patch_type=PatchType.STRATEGIC,
            )
        except NotFound:
            raise Waiting("the copy has just gone", reason="ComputeConflict") from None
        except KubeError as error:
            names = Names(below.namespace, copy.key.namespace, copy.handle, copy.uid)
            raise waiting(error, what="start in the compute cluster", names=names) from error
        return self._remember(copy.key, started)

    def refused(self, request: PodRequest, copy: ObservedPod) -> tuple[HeldBack, ...]:
        """See `PodBackend.refused`."""
        return self._compare(request, copy, self._copies.pod(copy.key))[1].refused

    async def update(self, request: PodRequest, copy: ObservedPod) -> Updated:
        """See `PodBackend.update`."""
        pod = self._copies.pod(copy.key)
        if pod is not None and self._copies.in_doubt(copy):
            pod = await self.live(copy.key)
        pod, wanted = self._compare(request, copy, pod)
        self._copies.doubt(copy)
        pod, held_back = await carry_out(self._client, wanted, pod)
        self._copies.trust(copy)
        return Updated(self._remember(copy.key, pod), held_back)

    async def delete(self, copy: ObservedPod, *, grace_seconds: int | None) -> None:
        """See `PodBackend.delete`."""
        below = self._copies.below(copy.key)
        version = self._gated_version(copy) if copy.gated else None
        try:
            await self._client.delete(
                PODS,
                name=below.name,
                namespace=below.namespace,
                uid=UID(copy.handle),
                grace_seconds=grace_seconds,
                resource_version=version,
            )
        except NotFound:
            self._missing(below, UID(copy.handle))
        except Conflict:
            if version is not None:
                _refuse_changed()
            self._missing(below, UID(copy.handle))  # What has its name now is another object.
        except KubeError as error:
            names = Names(below.namespace, copy.key.namespace, copy.handle, copy.uid)
            raise waiting(error, what="deletion in the compute cluster", names=names) from error

    async def live(self, key: ObjectKey) -> Pod | None:
        """The pod of that name as the cluster has it now. Raises Waiting."""
        below = self._copies.below(key)
        try:
            return await self._client.get(PODS, Pod, name=below.name, namespace=below.namespace)
        except NotFound:
            return None
        except KubeError as error:
            names = Names(below.namespace, "the pod's namespace")
            raise waiting(error, what="look-up in the compute cluster", names=names) from error

    def _gated_version(self, copy: ObservedPod) -> str | None:
        """The version in which a copy was seen gated last; None: it is not seen. Raises Waiting."""
        now, pod = self._copies.observed(copy.key), self._copies.pod(copy.key)
        if now is None or pod is None or copy.handle != pod.metadata.uid:
            return None
        if not now.gated:
            _refuse_changed()
        return pod.metadata.resource_version

    def _compare(
        self, request: PodRequest, copy: ObservedPod, pod: Pod | None
    ) -> tuple[Pod, Update]:
        """The copy as it is below, and what has to change in it."""
        if pod is None or pod.metadata.uid != copy.handle:
            raise Waiting("the copy has just gone", reason="ComputeConflict")
        wanted = update(
            request,
            pod,
            owner=self._owner,
            namespaces=self._mapping,
            policy=self._policies[request.node],
        )
        return pod, wanted

    async def _adopt(self, request: PodRequest) -> Pod:
        """A pod of that name exists: ours of the same UID is the copy, nothing else is touched."""
        key = request.pod.metadata.key
        found = await self.live(key)
        if found is None:
            raise Waiting("a pod of that name is just going away", reason="PredecessorExists")
        copy = observed_pod(found, owner=self._owner, namespaces=self._mapping)
        if copy is None:
            raise NameConflict(
                f'a pod named "{key.name}" exists in the compute cluster '
                "and does not belong to this tenant"
            )
        if copy.uid != request.pod.metadata.uid:
            _refuse_predecessor()
        return found

    def _remember(self, key: ObjectKey, made: Pod) -> ObservedPod:
        return self._copies.remember(key, made, scope=self._scope(made.metadata.namespace))

    def _body(self, request: PodRequest, prepared: tuple[str, ...]) -> JSONObject:
        """The pod to create. What a webhook has to add is looked at before the pod may start."""
        if not prepared or self._prepared_claims is None:
            return self.translated(request)
        refuse_redirected(request.pod)
        body = self.translated(dataclasses.replace(request, gated=True))
        return marked(body, prepared, self._prepared_claims.asking)

    async def _take_back(self, key: ObjectKey, made: Pod) -> NoReturn:
        """The sidecar that brings its data was not put in: it goes before it can start."""
        handle, below = made.metadata.uid, self._copies.below(key)
        self._copies.withdraw(handle)
        try:
            await self._client.delete(
                PODS,
                name=below.name,
                namespace=below.namespace,
                uid=handle,
                resource_version=made.metadata.resource_version,
            )
        except NotFound:
            pass
        except KubeError as error:
            self._copies.keep(handle)  # It is seen as unfit, and deleted later.
            names = Names(below.namespace, key.namespace, handle)
            what = "taking back a pod without its data"
            raise waiting(error, what=what, names=names) from error
        raise Waiting(
            "the compute side did not put in the sidecar that brings the data of the pod's claims, "
            "so the pod was not started; it is tried again",
            reason="FluidSidecarMissing",
            not_done=True,
        )

    async def _require_claims(self, request: PodRequest) -> tuple[str, ...]:
        """What the pod's claims stand for is there. Returns the prepared ones. Raises Waiting."""
        names, key = claim_names(request.pod.spec), request.pod.metadata.key
        mode = self._policies[request.node].pvc
        if not names or mode is PvcMode.NONE:
            return ()
        prepared: tuple[str, ...] = ()
        if mode is PvcMode.FLUID and self._prepared_claims is not None:
            prepared = self._prepared_claims.among(key.namespace, names)
        shared = [name for name in names if name not in prepared]
        if shared and self._claim_check is not None:
            await self._claim_check(key.namespace, shared)
        below = self._copies.below(key).namespace
        await self._claims.require(shared, below=below, namespace=key.namespace)
        if self._prepared_claims is not None and prepared:
            self._prepared_claims.require(key.namespace, prepared)
        return prepared


def _refuse_ungated(*, asked: bool) -> NoReturn:
    why = "the platform asks for that (startOnce: strict)"
    if not asked:
        why = "a pod whose data a sidecar brings may not start before it is seen to have it"
    raise Waiting(
        f"the compute cluster cannot make pods without starting them (schedulingGates), and {why}",
        reason="StartGatesMissing",
        not_done=True,
    )


def _refuse_predecessor() -> NoReturn:
    raise Waiting(
        "the copy of an older pod of the same name is not gone yet",
        reason="PredecessorExists",
        not_done=True,
    )


def _refuse_changed() -> NoReturn:
    raise Waiting("the copy has just changed", reason="ComputeConflict", passing=True)

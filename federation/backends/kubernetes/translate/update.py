"""What has to change in a copy so that it is again what its tenant pod asks for. Pure.

In: a `PodRequest` and the copy as it is now. Out: an `Update`: the single writes that are missing,
the parts that our own rules refuse, and the marks that say what was applied. Nothing else may
change in a bound pod, and nothing that others did to the copy is undone:

    labels, annotations           travel; keys that we wrote and that are gone are removed
    images                        travel when the tenant's changed since they were last applied
    activeDeadlineSeconds         travels to be set or lowered, as the API allows
    resources                     by pods/resize, when the tenant's changed since last time
    ephemeralContainers           by pods/ephemeralcontainers; only ever added
    tolerations                   stay: below the pool's count, and the copy has its node
    schedulingGates, the rest     cannot change in a bound pod

Every write can be refused below without the others: who sends them (`pod_updates`) tells in `marks`
which were applied.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from federation.backends.kubernetes.translate import (
    downward,
    env,
    fields,
    images,
    metadata,
    resources,
    security,
)
from federation.backends.kubernetes.translate.fingerprints import (
    SENT,
    as_mark,
    fingerprint,
    from_mark,
)
from federation.backends.kubernetes.translate.mounts import as_volumes_say
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLAIMS,
    ANNOTATION_DIGEST,
    ANNOTATION_EPHEMERAL,
    ANNOTATION_IMAGES,
    ANNOTATION_RESOURCES,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.never_root import as_others_say
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from federation.backends.kubernetes.translate.request import (
    decode_spec,
    translation,
)
from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.redirection import WHY, redirecting
from federation.backends.translation.rules import (
    Refused,
    as_object,
    as_objects,
    as_rejected,
    as_text,
    inside,
    rejected,
    walk,
)
from vnode.backend import HeldBack, PodRequest, Rejected, UpdatePart
from vnode.kube.types import JSON, JSONObject, ObjectMeta, Pod

RESIZE = "resize"
EPHEMERAL_CONTAINERS = "ephemeralcontainers"
REJECTED = "UpdateRejected"
"""Reason of what is refused for good."""


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a copy, which can be sent alone."""

    part: UpdatePart
    patch: JSONObject
    """Strategic merge patch, without preconditions; empty: the copy has it already."""
    subresource: str = ""
    """`""` for the pod itself."""
    container: str = ""
    marks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Annotation -> fingerprints to note once it is applied."""


@dataclass(frozen=True, slots=True)
class Update:
    """All that has to change in a copy."""

    writes: tuple[Write, ...]
    refused: tuple[HeldBack, ...]
    digest: str
    own: tuple[Mapping[str, str], Mapping[str, str]]
    """Our labels and annotations that every copy has."""
    noted: Mapping[str, Mapping[str, str]]
    """Annotation -> fingerprints of what needs no write."""

    def marks_ahead(self, present: ObjectMeta) -> JSONObject:
        """Annotations of the patch that goes before subresources, which take no marks.

        The copy is no longer up to date, and what is sent next may be there or not: if all after
        this is interrupted, a resize that is taken back meanwhile is still undone, and a container
        that a webhook has rewritten is still known by its name.
        """
        ahead = [write for write in self.writes if write.subresource]
        annotations = _marks(_noted(self.noted, ahead, as_sent=True), ahead)
        if present.annotations.get(ANNOTATION_DIGEST):
            annotations[ANNOTATION_DIGEST] = ""
        return metadata.changed({}, annotations, present)

    def marks_along(
        self, applied: Collection[Write], present: ObjectMeta, *, unsure: Collection[Write] = ()
    ) -> JSONObject:
        """Annotations of a patch of the pod itself: they are there if its writes are.

        Args:
            applied: the writes of the patch, and those that went well before.
            present: the copy's metadata as it is now.
            unsure: see `marks`.
        """
        noted = _noted(_noted(self.noted, applied), unsure, as_sent=True)
        return metadata.changed({}, _marks(noted, [*applied, *unsure]), present)

    def marks(
        self,
        applied: Iterable[Write],
        *,
        whole: bool,
        present: ObjectMeta,
        unsure: Iterable[Write] = (),
    ) -> JSONObject:
        """Labels and annotations of the patch that says what was applied; empty: nothing to say.

        Args:
            applied: the writes that went well.
            whole: nothing was refused by anybody.
            present: the copy's metadata as it is now.
            unsure: the writes that stay noted as sent although they were refused.
        """
        noted = _noted(_noted(self.noted, applied), unsure, as_sent=True)
        labels, annotations = self.own
        marks = {name: as_mark(prints) for name, prints in noted.items() if prints}
        if ANNOTATION_EPHEMERAL in self.noted and present.annotations.get(ANNOTATION_EPHEMERAL):
            marks.setdefault(ANNOTATION_EPHEMERAL, "")  # What was sent was refused.
        marks[ANNOTATION_DIGEST] = self.digest if whole else ""
        return metadata.changed(labels, {**annotations, **marks}, present)


def update(
    request: PodRequest,
    below: Pod,
    *,
    owner: Owner,
    namespaces: NamespaceMapping,
    policy: TranslationPolicy,
) -> Update:
    """Compare a tenant pod with its copy.

    With the same digest only our own marks are put right, so that nothing is fought that others do
    to a copy that is up to date.

    Args:
        request: the tenant pod as it is now.
        below: its copy as it is now, spec included.
        owner: who we are.
        namespaces: see `translate`.
        policy: see `translate`.

    Raises:
        Rejected: nothing of the pod can be forwarded.
    """
    source = decode_spec(request)
    at = translation(request, source, owner=owner, namespaces=namespaces, policy=policy)
    own = metadata.own_marks(at)
    if below.metadata.annotations.get(ANNOTATION_DIGEST) == request.digest:
        return Update((), (), request.digest, own, {})
    with rejected("spec"):
        present = as_object(msgspec.json.decode(below.spec))
        comparison = _Comparison(source, present, below.metadata, at)
        writes = (
            *comparison.labels_and_annotations(),
            *comparison.new_images(),
            *comparison.deadline(),
            *comparison.resize(),
        )
        added, refused = comparison.ephemeral_containers()
    refused += tuple(
        _refusal(as_rejected(why, "metadata.annotations"), UpdatePart.POD)
        for why in security.refused_annotations(at).values()
    )
    return Update((*writes, *added), refused, request.digest, own, comparison.unchanged(writes))


@dataclass(frozen=True, slots=True)
class _Comparison:
    source: JSONObject
    """The tenant's spec."""
    present: JSONObject
    """The copy's spec."""
    metadata: ObjectMeta
    """The copy's metadata."""
    at: Translation

    def _applied(self, annotation: str) -> dict[str, str]:
        return from_mark(self.metadata.annotations.get(annotation))

    def _added(self) -> dict[str, str]:
        """Fingerprints of our ephemeral containers that are known to be there."""
        noted = self._applied(ANNOTATION_EPHEMERAL)
        return {name: value for name, value in noted.items() if value != SENT}

    def labels_and_annotations(self) -> Iterator[Write]:
        labels, annotations = metadata.labels_and_annotations(self.at)
        annotations.update(downward.carried(self.source, self.at))
        for mark in metadata.own_marks(self.at)[1]:
            annotations.pop(mark)  # said when all has been sent
        before = metadata.applied_keys(self.metadata)
        kept = frozenset(security.refused_annotations(self.at))
        changed = metadata.changed(
            labels, annotations, self.metadata, applied=(before[0], before[1] - kept)
        )
        if changed:
            yield Write(UpdatePart.POD, {"metadata": changed})

    def new_images(self) -> Iterator[Write]:
        applied = self._applied(ANNOTATION_IMAGES)
        for new in images.changed(self.source, self.present, applied):
            part: JSONObject = {"name": new.container, "image": new.image}
            noted = {ANNOTATION_IMAGES: {new.container: fingerprint(new.image)}}
            yield Write(
                UpdatePart.POD, {"spec": {new.kind: [part]}}, container=new.container, marks=noted
            )

    def deadline(self) -> Iterator[Write]:
        wanted = self.source.get("activeDeadlineSeconds")
        current = self.present.get("activeDeadlineSeconds")
        if isinstance(wanted, int) and (not isinstance(current, int) or wanted < current):
            yield Write(UpdatePart.POD, {"spec": {"activeDeadlineSeconds": wanted}})

    def resize(self) -> Iterator[Write]:
        applied = self._applied(ANNOTATION_RESOURCES)
        if spec := resources.resize(self.source, applied):
            wishes = resources.wishes(self.source)
            noted = {name: now for name, now in wishes.items() if applied.get(name, now) != now}
            marks = {ANNOTATION_RESOURCES: noted}
            yield Write(UpdatePart.RESIZE, {"spec": spec}, subresource=RESIZE, marks=marks)

    def ephemeral_containers(self) -> tuple[tuple[Write, ...], tuple[HeldBack, ...]]:
        known = self._added()
        added: list[Write] = []
        refused: list[HeldBack] = []
        for index, container in enumerate(as_objects(self.source.get("ephemeralContainers"))):
            name = as_text(container.get("name"))
            if name in known:
                continue
            try:
                added.append(self._ephemeral_container(name, container))
            except Refused as why:
                why.inside(f".ephemeralContainers[{index}]")
                part = UpdatePart.EPHEMERAL_CONTAINER
                refused.append(_refusal(as_rejected(why, "spec"), part, container=name))
        return tuple(added), tuple(refused)

    def _ephemeral_container(self, name: str, container: JSONObject) -> Write:
        translated = walk(container, fields.EPHEMERAL_CONTAINER, self.at)
        if self.metadata.annotations.get(ANNOTATION_CLAIMS) and (where := redirecting(container)):
            with inside(where):
                raise Refused(WHY)
        (wanted,) = as_objects(env.with_service_variables([translated], self.at))
        wanted = as_volumes_say(wanted, as_objects(self.source.get("volumes")))
        wanted = as_others_say(wanted, self.source, self.present)
        patch: JSONObject = {"spec": {"ephemeralContainers": [wanted]}}
        for there in as_objects(self.present.get("ephemeralContainers")):
            if there.get("name") == name:
                # Ours, and we were interrupted before it was noted, or somebody's below: users must
                # not get into a container that administrators put there.
                if name not in self._applied(ANNOTATION_EPHEMERAL) and not _holds(there, wanted):
                    raise Refused("the copy has another ephemeral container of this name already")
                patch = {}
        return Write(
            UpdatePart.EPHEMERAL_CONTAINER,
            patch,
            subresource=EPHEMERAL_CONTAINERS,
            container=name,
            marks={ANNOTATION_EPHEMERAL: {name: fingerprint(wanted)}},
        )

    def unchanged(self, writes: Iterable[Write]) -> dict[str, dict[str, str]]:
        """Fingerprints that stand if no write goes well."""
        now = {
            ANNOTATION_IMAGES: images.wishes(self.source),
            ANNOTATION_RESOURCES: resources.wishes(self.source),
        }
        for write in writes:
            for annotation, prints in write.marks.items():
                was = self._applied(annotation)
                now[annotation].update({name: was.get(name, SENT) for name in prints})
        return {**now, ANNOTATION_EPHEMERAL: self._added()}


def _marks(noted: Mapping[str, Mapping[str, str]], writes: Iterable[Write]) -> dict[str, str]:
    """The annotations that some writes are about."""
    about = {name for write in writes for name in write.marks}
    return {name: as_mark(noted[name]) for name in about}


def _noted(
    noted: Mapping[str, Mapping[str, str]], writes: Iterable[Write], *, as_sent: bool = False
) -> dict[str, dict[str, str]]:
    """Fingerprints by annotation, those of some writes added."""
    result = {name: dict(prints) for name, prints in noted.items()}
    for write in writes:
        for name, prints in write.marks.items():
            added = dict.fromkeys(prints, SENT) if as_sent else prints
            result.setdefault(name, {}).update(added)
    return result


def _refusal(why: Rejected, part: UpdatePart, *, container: str = "") -> HeldBack:
    return HeldBack(part, REJECTED, str(why), permanent=True, container=container)


def _holds(there: JSON, wanted: JSON) -> bool:
    """Whether a value below is what we would send, with defaults added."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        return all(_holds(there.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(there) == len(wanted) and all(map(_holds, there, wanted))
    return (there or None) == (wanted or None)

"""Logins for image registries: what `imagePullSecrets` and the pool bring, for the pod's images.

In: Secrets of the types kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg, and the images
of the pod. Out: one ImageRegistryCredential per server. A kubelet tries all logins that match; ECI
has one per server, so the most specific is sent, of those the first. Rules of matching:
k8s.io/kubernetes pkg/credentialprovider (host by host parts with `*`, path by beginning).
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from federation.backends.eci.parameters import Parameter
from federation.backends.eci.translate import limits
from federation.backends.eci.translate.contents import Contents
from federation.backends.eci.translate.policy import RegistryLogin
from federation.backends.eci.translate.spec import PodSpec
from vnode.backend import ReferenceKind, Rejected, Waiting

__all__ = ["logins", "of_file", "parameters"]

_KEYS = (".dockerconfigjson", ".dockercfg")
_UNREADABLE = (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError)
_HUB = "docker.io"
_HUB_NAMES = ("index.docker.io", "registry-1.docker.io", "docker.io")


class _Entry(msgspec.Struct, frozen=True):
    """One login of a docker configuration."""

    username: str = ""
    password: str = ""
    auth: str = ""

    def __repr__(self) -> str:
        return "_Entry(...)"


class _Config(msgspec.Struct, frozen=True):
    auths: dict[str, _Entry] = {}

    def __repr__(self) -> str:
        return "_Config(...)"


def logins(
    spec: PodSpec,
    contents: Contents,
    *,
    own: Sequence[RegistryLogin],
    more: Iterable[str] = (),
) -> list[RegistryLogin]:
    """The logins that the pod's images need, and images of the platform's.

    Args:
        spec: of the pod.
        contents: has its Secrets.
        own: the platform's logins, which go after the tenant's.
        more: images of the platform's, for which the tenant's logins are no good.

    Raises:
        Rejected: they are too many, or two of one server.
        Waiting: an image pull Secret cannot be read; its content is not shown.
    """
    known = [*_of_secrets(spec, contents), *own]
    chosen: dict[str, RegistryLogin] = {}
    for container in (*spec.init_containers, *spec.containers):
        if (best := _best(container.image, known)) is not None:
            chosen.setdefault(best.server, best)
    ours = {image: best for image in more if (best := _best(image, own)) is not None}
    for best in ours.values():
        chosen.setdefault(best.server, best)
    for image, best in ours.items():
        if _best(image, chosen.values()) != best:
            raise Rejected(
                f'spec.imagePullSecrets: they have a login for "{best.server}", from which the '
                "platform pulls what brings the data of the pod's claims, and ECI takes one login "
                "for each registry: leave it out, or take the pod's images from another one",
                field="spec.imagePullSecrets",
            )
    if len(chosen) > limits.LOGINS:
        raise Rejected(
            f"spec.containers: images of {len(chosen)} registries that need a login are more than "
            f"the {limits.LOGINS} of ECI: use fewer",
            field="spec.containers",
        )
    return list(chosen.values())


def _best(image: str, known: Iterable[RegistryLogin]) -> RegistryLogin | None:
    """The most specific login for an image, of those the first."""
    host, path = _place(image)
    matching = [login for login in known if _matches(login.server, host, path)]
    if not matching:
        return None
    best = max(matching, key=lambda login: len(_parts(login.server)[1]))
    prefix = _parts(best.server)[1]
    return RegistryLogin(f"{host}/{prefix}" if prefix else host, best.user, best.password)


def of_file(content: bytes) -> tuple[RegistryLogin, ...]:
    """The logins of a docker configuration (`config.json`, or the value of a Secret of type
    kubernetes.io/dockerconfigjson). Raises ValueError, which shows nothing of it.
    """
    try:
        return tuple(_logins_of(msgspec.json.decode(content, type=_Config).auths))
    except _UNREADABLE:
        raise ValueError("it is no docker configuration") from None


def parameters(found: Sequence[RegistryLogin]) -> list[Parameter]:
    """Logins as ImageRegistryCredential parameters."""
    return [{"Server": one.server, "UserName": one.user, "Password": one.password} for one in found]


def _of_secrets(spec: PodSpec, contents: Contents) -> Iterator[RegistryLogin]:
    for index, ref in enumerate(spec.image_pull_secrets):
        where = f"spec.imagePullSecrets[{index}]"
        files = contents.files(ReferenceKind.SECRET, ref.name, optional=True, where=where)
        for key in _KEYS:
            if files is not None and key in files:
                yield from _entries(files[key], nested=key == _KEYS[0], where=where)


def _entries(content: bytes, *, nested: bool, where: str) -> Iterator[RegistryLogin]:
    try:
        if nested:
            auths = msgspec.json.decode(content, type=_Config).auths
        else:
            auths = msgspec.json.decode(content, type=dict[str, _Entry])
        yield from _logins_of(auths)
    except _UNREADABLE:
        raise Waiting(
            f"{where}: the Secret's docker configuration cannot be read",
            reason="InvalidImagePullSecret",
            not_done=True,
        ) from None


def _logins_of(auths: Mapping[str, _Entry]) -> Iterator[RegistryLogin]:
    for server, entry in auths.items():
        user, password = entry.username, entry.password
        if entry.auth:
            text = base64.b64decode(entry.auth + "==").decode()
            user, _, password = text.rstrip("\x00").partition(":")
        if user:
            yield RegistryLogin(server, user, password)


def _place(image: str) -> tuple[str, str]:
    """Host and path of an image."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (_HUB if first in _HUB_NAMES else first), rest
    return _HUB, image


def _parts(server: str) -> tuple[str, str]:
    """Host and path of a login's server: without scheme, and without the path of an old API."""
    plain = server.removeprefix("https://").removeprefix("http://")
    host, _, path = plain.partition("/")
    path = path.strip("/")
    if path in ("v1", "v2"):
        path = ""
    return (_HUB if host in _HUB_NAMES else host), path


def _matches(server: str, host: str, path: str) -> bool:
    wanted, prefix = _parts(server)
    name, _, port = host.partition(":")
    wanted_name, _, wanted_port = wanted.partition(":")
    labels, patterns = name.split("."), wanted_name.split(".")
    return (
        port == wanted_port
        and len(labels) == len(patterns)
        and all(fnmatchcase(label, one) for label, one in zip(labels, patterns, strict=True))
        and path.startswith(prefix)
    )

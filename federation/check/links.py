"""Does an API server answer, does it take our credential, and for how long?

In: a `Peer`. Out: findings about its address, its certificate, who we are there
(SelfSubjectReview, KEP-3325, Kubernetes 1.28) and when token or certificate end. Tokens are looked
into for their end and their account, and never shown.
"""

import asyncio
import base64
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml
from cryptography import x509

from federation.check.findings import Finding, ok, one_line, untried, warn, wrong
from federation.check.site import TENANT, Peer
from vnode.kube.config import Access
from vnode.kube.errors import ApiError, Unauthorized, Unreachable, Untrusted
from vnode.kube.resources import Resource
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import APIObject, JSONObject, object_in, objects_in

__all__ = ["Lifetime", "configuration", "credential", "judge_lifetime", "lifetime", "link"]

SELF_SUBJECT_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False
)
_SOON = 7 * 24 * 3600.0
"""Seconds before the end of a credential that nothing renews, from which on it is a warning."""
_ALL_RIGHTS = "system:masters"
_ACCOUNT = "system:serviceaccount:"


class _UserInfo(APIObject, frozen=True):
    username: str = ""
    groups: list[str] = []  # noqa: RUF012 - msgspec copies it


class _ReviewStatus(APIObject, frozen=True):
    user_info: _UserInfo = _UserInfo()


class _Review(APIObject, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


class _Claims(msgspec.Struct, frozen=True):
    """Of a ServiceAccount token (RFC 7519)."""

    exp: float | None = None
    sub: str = ""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a credential ends."""

    kind: str
    """`token` or `client certificate`."""
    ends: float
    """Unix seconds."""
    renewed: bool
    """It is read from files of its own, or asked of a program, again and again."""
    subject: str = ""
    """Of a token: whose it is."""


async def configuration(peer: Peer) -> Sequence[Finding]:
    """Can its kubeconfig be used at all?"""
    if peer.access is None:
        return [wrong(peer.problem)]
    found = peer.connection.kubeconfig
    source = f"kubeconfig {found}" if found else "the ServiceAccount of this pod"
    findings = [ok(f"{source}: {peer.access.server}")]
    tls = peer.access.tls
    if tls is None:
        findings.append(warn("http: anybody on the way reads along", "set a server URL of https"))
    elif tls.verify_mode is ssl.CERT_NONE:
        findings.append(
            warn(
                "insecure-skip-tls-verify is set: anybody can pretend to be this API server",
                "remove it and set certificate-authority-data",
            )
        )
    return findings


async def link(peer: Peer) -> Sequence[Finding]:
    """Is there an API server, and is it the one whose CA we have?"""
    client = peer.client
    try:
        await client.request("GET", "/version", timeout=10)
    except Untrusted as error:
        return [wrong(one_line(error), await asyncio.to_thread(_mend_ca, peer))]
    except Unreachable as error:
        mend = "check the address in its kubeconfig, and firewalls on the way to it"
        return [wrong(one_line(error), mend)]
    except ApiError as error:
        if error.code not in (401, 403):  # these two are the credential's affair
            return [wrong(one_line(error), "is this the address of an API server?")]
    return [ok(f"{client.server} answers")]


async def credential(peer: Peer, *, now: float) -> Sequence[Finding]:
    """Who are we there, and for how long? `now` is in Unix seconds."""
    renewed = await asyncio.to_thread(_renewed, peer)
    life = lifetime(peer.access, renewed=renewed) if peer.access else None
    mend = await asyncio.to_thread(_mend_credential, peer, life)
    body = {"apiVersion": SELF_SUBJECT_REVIEWS.api_version, "kind": SELF_SUBJECT_REVIEWS.kind}
    try:
        review = await peer.client.create(SELF_SUBJECT_REVIEWS, body, _Review)
    except Unauthorized:
        ended = life is not None and life.ends <= now
        why = f": its {life.kind} ended at {rfc3339(life.ends)}" if life and ended else ""
        return [wrong(f"the credential is refused{why}", mend)]
    except ApiError as error:
        if error.code not in (404, 403):
            raise
        return [untried("who this is: needs Kubernetes 1.28 (SelfSubjectReview)")]
    user = review.status.user_info
    if user.username == "system:anonymous":
        text = "the kubeconfig holds no credential: the API server takes us for anybody"
        return [wrong(text, mend)]
    findings = [ok(user.username + _left(life, now))]
    if life is not None:
        findings += judge_lifetime(life, now=now, mend=mend)
    if _ALL_RIGHTS in user.groups:
        findings.append(
            warn(
                f"{user.username} is in group {_ALL_RIGHTS}: it may everything",
                "give the agent an account of its own, as the manifests in deploy/ do",
            )
        )
    return findings


def judge_lifetime(life: Lifetime, *, now: float, mend: str) -> list[Finding]:
    """A warning where nothing will renew it in time."""
    if life.renewed or life.ends - now > _SOON:
        return []
    left = format_seconds(life.ends - now)
    return [warn(f"the {life.kind} ends in {left}, and its file is not renewed", mend)]


def lifetime(access: Access, *, renewed: bool) -> Lifetime | None:
    """When a credential ends; None: it does not say."""
    scheme, _, token = (access.authorization or "").partition(" ")
    if scheme.lower() == "bearer" and token.count(".") == 2:
        body = token.split(".")[1]
        try:
            data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
            claims = msgspec.json.decode(data, type=_Claims)
        except (ValueError, msgspec.DecodeError):
            return None
        if claims.exp is not None:
            return Lifetime("token", claims.exp, renewed, claims.sub)
        return None
    if access.certificate is not None:
        try:
            leaf = x509.load_pem_x509_certificates(access.certificate.certificate)[0]
        except (ValueError, IndexError):
            return None
        return Lifetime("client certificate", leaf.not_valid_after_utc.timestamp(), renewed)
    return None


def format_seconds(seconds: float) -> str:
    """A time as people say it, roughly."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _left(life: Lifetime | None, now: float) -> str:
    if life is None:
        return ""
    again = ", read again when it is renewed" if life.renewed else ""
    return f"; {life.kind} ends in {format_seconds(life.ends - now)}{again}"


def _renewed(peer: Peer) -> bool:
    """Whether the credential is in a file of its own, given by a program, or renewed by us."""
    path = peer.connection.kubeconfig
    if path is None or peer.secret is not None:
        return True
    _, user = _entries(path, peer.connection.context)
    entries = objects_in(_document(path).get("users"))
    keys = {key for each in entries if each.get("name") == user for key in object_in(each["user"])}
    return bool(keys & {"tokenFile", "client-certificate", "exec", "auth-provider"})


def _entries(path: Path, context: str | None) -> tuple[str, str]:
    """Names of the cluster and of the user that a context of a kubeconfig stands for."""
    document = _document(path)
    name = context or document["current-context"]
    entries = objects_in(document["contexts"])
    chosen = object_in(next(each["context"] for each in entries if each["name"] == name))
    return str(chosen["cluster"]), str(chosen.get("user", ""))


def _document(path: Path) -> JSONObject:
    """A kubeconfig that was read before, so it is one."""
    document: JSONObject = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    return document


def _mend_ca(peer: Peer) -> str:
    path = peer.connection.kubeconfig
    if path is None:
        return "kubectl -n kube-system get configmap kube-root-ca.crt  # and restart the pod"
    cluster, _ = _entries(path, peer.connection.context)
    return (
        f"kubectl --kubeconfig {path} config set-cluster {cluster} --embed-certs "
        "--certificate-authority CA.crt  # the CA of that cluster"
    )


def _mend_credential(peer: Peer, life: Lifetime | None) -> str:
    """How a fresh one is made; the inner command is for an administrator of that cluster."""
    path = peer.connection.kubeconfig
    if path is None:
        return "kubectl -n vnode-system rollout restart deployment vnode"
    if peer.secret is not None:
        return (
            f"vnode join --config FILE --cluster {peer.name} --tenant-uid UID "
            "--secret-file SECRET.yaml  # as an administrator of that cluster; "
            "then kubectl apply -f SECRET.yaml in the tenant"
        )
    _, user = _entries(path, peer.connection.context)
    namespace, account = "vnode-system", "vnode" if peer.name == TENANT else "vnode-TENANT"
    if life is not None and life.subject.startswith(_ACCOUNT):
        namespace, _, account = life.subject.removeprefix(_ACCOUNT).partition(":")
    return (
        f"kubectl --kubeconfig {path} config set-credentials {user} "
        f'--token="$(kubectl -n {namespace} create token {account} --duration=8760h)"'
        "  # the inner kubectl as an administrator of that cluster"
    )

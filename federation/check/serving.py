"""The certificate that a virtual node shows, and the request for a better one.

In: the TLS handshake of a node's kubelet port (ours: whether the tenant's API server gets as far is
asked by `kubelet`), and certificate requests. Out: findings. An API server that does not verify
kubelets is content with a self-signed certificate: one that reached the node with it does not.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from federation.check.findings import Finding, ok, untried, warn, wrong
from federation.check.links import format_seconds
from federation.check.nodes import AGENT
from federation.check.site import Site
from federation.config import CertificateSource
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import CERTIFICATE_SIGNING_REQUESTS
from vnode.kube.types import NodeName
from vnode.node.objects import Node
from vnode.node.serving.request import LABEL_SELECTOR, SigningRequest, is_unanswered

__all__ = ["SECONDS", "Served", "certificate", "judge_pending", "judge_served", "place_of"]

SECONDS = 5.0
"""What a handshake may take."""
_SOON = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Served:
    """A serving certificate."""

    issuer: str
    own: bool
    """It signed itself."""
    ends: float
    """Unix seconds."""
    addresses: frozenset[str]


async def certificate(site: Site, node: Node, *, reached: bool) -> Sequence[Finding]:
    """Which certificate does a virtual node show?

    `reached`: the tenant's API server has just accepted it. Raises KubeError.
    """
    host, port = place_of(node)
    try:
        served = await _handshake(host, port)
    except (TimeoutError, OSError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        return [untried(f"the certificate: {host}:{port} does not answer from here ({why})")]
    findings = judge_served(served, address=host, now=time.time(), reached=reached)
    asked = site.config.kubelet.certificate.source is CertificateSource.AUTO
    if asked and served.own and not reached:
        name = NodeName(node.metadata.name)
        findings += judge_pending(await _requests(site.tenant.client), name)
    return findings


def judge_served(served: Served, *, address: str, now: float, reached: bool) -> list[Finding]:
    """What is to be said of a certificate."""
    left = served.ends - now
    if left <= 0:
        return [wrong(f"its certificate ended {format_seconds(-left)} ago", AGENT)]
    if address not in served.addresses:
        text = f"its certificate does not name {address}: an API server that verifies refuses it"
        return [warn(text, "set kubelet.advertise, or put the address into your own certificate")]
    whose = "self-signed" if served.own else f"signed by {served.issuer}"
    careless = "; this API server does not verify kubelets" if reached and served.own else ""
    text = f"certificate {whose}, ends in {format_seconds(left)}{careless}"
    if left < _SOON and not served.own:
        return [warn(f"{text}, and should have been renewed", "kubectl get csr")]
    return [ok(text)]


def place_of(found: Node) -> tuple[str, int]:
    """Address and port at which the tenant's API server looks for a node's kubelet."""
    host = next((a.address for a in found.status.addresses if a.type == "InternalIP"), "")
    return host, found.status.daemon_endpoints.kubelet_endpoint.port


async def _requests(client: KubeClient) -> list[SigningRequest]:
    """Requests of agents; none if we may not see them, which the check of rights says."""
    selection = Selection(CERTIFICATE_SIGNING_REQUESTS, label_selector=LABEL_SELECTOR)
    try:
        pages = list_pages(client, selection, SigningRequest)
        return [each async for page in pages for each in page.items or ()]
    except Forbidden:
        return []


def judge_pending(found: Iterable[SigningRequest], name: NodeName) -> list[Finding]:
    """Whether somebody could approve a request of that node; nothing if there is none."""
    waiting = [each.metadata for each in found if is_unanswered(each, node=name)]
    if not waiting:
        return []
    newest = max(waiting, key=lambda each: each.creation_timestamp or "")
    text = "its request for a certificate waits for approval; API servers that verify need it"
    return [warn(text, f"kubectl certificate approve {newest.name}")]


async def _handshake(host: str, port: int) -> Served:
    """The certificate that is shown there, whoever signed it."""
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE  # It is looked at, not trusted; nothing is sent.
    async with asyncio.timeout(SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return _read(x509.load_der_x509_certificate(shown))


def _read(shown: x509.Certificate) -> Served:
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        held = {*names.get_values_for_type(x509.DNSName)}
        held |= {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    except x509.ExtensionNotFound:
        held = set()
    issuers = shown.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Served(
        issuer=str(issuers[0].value) if issuers else shown.issuer.rfc4514_string(),
        own=shown.issuer == shown.subject,
        ends=shown.not_valid_after_utc.timestamp(),
        addresses=frozenset(held),
    )

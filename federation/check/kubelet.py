"""Does the tenant's API server reach the kubelet API of a virtual node, as `kubectl logs` needs it?

In: GET nodes/NAME/proxy/healthz, and one line of the log of a pod that runs there, through the
tenant's API server. Out: what is in the way, by the words of the API server (Kubernetes 1.36,
apimachinery pkg/util/proxy and x/crypto/x509): the port, the certificate, who it is or what it may.
Both are the user's rights, not the agent's, so a kubeconfig of an administrator is used if given.
"""

from collections.abc import Sequence

from federation.check.findings import Finding, Level, not_allowed, ok, one_line, untried, wrong
from federation.check.nodes import AGENT
from federation.check.serving import SECONDS as CERTIFICATE_SECONDS
from federation.check.serving import certificate, place_of
from federation.check.site import Site
from vnode.kube.errors import ApiError, Forbidden, KubeError, NotFound, Unauthorized, Unreachable
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import NODES, PODS
from vnode.kube.types import NodeName, PartialObject
from vnode.node.objects import Node

__all__ = ["SECONDS", "judge_path", "path"]

SECONDS = 45.0
"""API servers wait 30 s for a port that does not answer."""
_CLIENT_CERTIFICATE = (
    "start the API server with a --kubelet-client-certificate that its --client-ca-file has signed"
)
_APPROVE = (
    "kubectl certificate approve $(kubectl get csr -l app.kubernetes.io/managed-by=vnode -o name)"
)


async def path(site: Site, name: NodeName) -> Sequence[Finding]:
    """Ask the kubelet API through the API server, and look at its certificate. Raises KubeError."""
    viewer = site.tenant_viewer.client
    try:
        found = await site.tenant.client.get(NODES, Node, name=name)
    except NotFound:
        return [untried("there is no such node yet")]
    host, port = place_of(found)
    if not host or not port:
        return [wrong("the Node has no InternalIP or no kubelet port", AGENT)]
    healthz = f"{NODES.path(name=name)}/proxy/healthz"
    try:
        await viewer.request("GET", healthz, timeout=SECONDS - CERTIFICATE_SECONDS - 5)
    except KubeError as error:
        reached, findings = False, [judge_path(error, place=f"{host}:{port}")]
    else:
        reached, findings = True, [ok(f"the API server reaches {host}:{port}")]
    if reached or findings[0].level is not Level.WRONG:
        findings.append(await _log(site, name))
    return [*findings, *await certificate(site, found, reached=reached)]


def judge_path(error: KubeError, *, place: str) -> Finding:
    """What a failed request to a kubelet means."""
    if isinstance(error, Forbidden) and "nodes/proxy" in error.message:
        return not_allowed("get nodes/proxy", "--kubeconfig")
    if isinstance(error, Unauthorized):
        text = f"the virtual node at {place} does not know the API server (401)"
        return wrong(text, _CLIENT_CERTIFICATE)
    if isinstance(error, ApiError) and error.code == 403:
        text = f"the API server's own account may not use the virtual node at {place} (403)"
        mend = (
            "kubectl create clusterrolebinding kube-apiserver-kubelet-api "
            "--clusterrole=system:kubelet-api-admin --user=ACCOUNT  # of its client certificate"
        )
        return wrong(text, mend)
    words = one_line(error)
    if "address not allowed" in words:
        text = f"healthz: API servers do not proxy to {place}, a loopback or link-local address"
        return untried(text, "set kubelet.advertise to an address of this machine's network")
    if "remote error" in words:
        text = f"the virtual node at {place} refuses the API server's client certificate: {words}"
        return wrong(text, _CLIENT_CERTIFICATE)
    if "x509" in words or "certificate" in words:
        text = f"the API server verifies kubelets, and refuses the certificate of {place}: {words}"
        return wrong(text, _APPROVE)
    blocked = ("refused", "timeout", "timed out", "no route", "unreachable", "no answer in time")
    if isinstance(error, Unreachable) or any(each in words.lower() for each in blocked):
        text = f"the API server does not reach the kubelet port {place}: {words}"
        mend = (
            f"let the control plane connect to {place} (firewall, security group, NetworkPolicy), "
            "or correct kubelet.advertise and kubelet.listen"
        )
        return wrong(text, mend)
    return wrong(f"the kubelet API at {place} answers with an error: {words}", AGENT)


async def _log(site: Site, name: NodeName) -> Finding:
    """A line of the log of some pod that runs there."""
    viewer = site.tenant_viewer.client
    for namespace in await site.namespaces():
        running = f"spec.nodeName={name},status.phase=Running"
        selection = Selection(PODS, namespace, field_selector=running, metadata_only=True)
        async for page in list_pages(site.tenant.client, selection, PartialObject, page_size=1):
            for each in page.items or ():
                key = each.metadata.key
                log = PODS.path(namespace=key.namespace, name=key.name, subresource="log")
                try:
                    await viewer.request("GET", log, query={"tailLines": "1", "limitBytes": "1"})
                except Forbidden:
                    return not_allowed("get pods/log", "--kubeconfig")
                except ApiError as error:
                    if error.code == 400:  # more than one container, or none that has begun
                        return untried(f"logs of pod {key}: {one_line(error)}")
                    return wrong(f"no logs of pod {key}: {one_line(error)}", "see the link below")
                return ok(f"logs of pod {key} come")
            break
    return untried("logs: no pod runs there")

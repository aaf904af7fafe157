"""Fluid's webhook, as its users meet it: a MutatingWebhookConfiguration and the server behind it.

In: AdmissionReviews of pod creates; what it needs to know it asks of the API server each time. Out:
a JSON patch (`injection`), or a refusal with code 500 where a claim is missing or its Dataset not
Bound. As the real one it *fails open*: a pod whose sidecar cannot be built (no DaemonSet, no
volume) is admitted without.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import trustme

from tests.clusters.errors import CommandError
from tests.standin import injection
from tests.standin.injection import Sidecar

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clusters.api import AdminClient

NAME = "fluid-pod-admission-webhook"
PATH = "/mutate-fluid-io-v1alpha1-schedulepod"
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
MANAGED_BY = "fluid.io/managed-by"
_DATASET_LABEL = "fluid.io/s-"


class Refused(Exception):
    """The pod is not admitted; the API server answers 500 with this text."""


class Webhook:
    """Serves until `stop`; the switches may be turned at any time."""

    def __init__(self, client: Callable[[], AdminClient], *, address: str, port: int) -> None:
        """`client`: makes connections with all rights; `address`: where the API server finds us."""
        self.fails_open = False
        """Pods are admitted as they are, as if every injection failed."""
        self.native = False
        """Sidecars are native ones (FUSE_SIDECAR_INJECTION_MODE=native-sidecar)."""
        self.asked = 0
        """How many pods it was asked about."""
        self._client = client
        self._url = f"https://{address}:{port}{PATH}"
        self._ca = trustme.CA()
        self._server = _server(self.review, address, port, self._ca)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        """Serve, and have the API server ask from now on."""
        self._thread.start()
        hooks = [self._hook(*switch) for switch in injection.SWITCHES.items()]
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": NAME},
            "webhooks": hooks,
        }
        with self._client() as api:
            api.create(_CONFIGURATIONS, body)

    def stop(self) -> None:
        """Be asked no more, and end."""
        try:
            with self._client() as api:
                api.delete(f"{_CONFIGURATIONS}/{NAME}")
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=10)

    def review(self, request: dict[str, Any]) -> dict[str, Any]:
        """The response to an admission request."""
        self.asked += 1
        response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        try:
            made = self._mutated(request["object"], request["namespace"])
        except Refused as refused:
            return {**response, "allowed": False, "status": {"code": 500, "message": str(refused)}}
        changes = [
            {"op": "replace", "path": "/metadata", "value": made["metadata"]},
            {"op": "replace", "path": "/spec", "value": made["spec"]},
        ]
        patch = base64.b64encode(json.dumps(changes).encode()).decode()
        return {**response, "patchType": "JSONPatch", "patch": patch}

    def _mutated(self, pod: dict[str, Any], namespace: str) -> dict[str, Any]:
        if self.fails_open or not injection.wants(pod):
            return pod
        with self._client() as api:
            sidecars = {}
            for name in injection.claims(pod):
                claim = _found(api, f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
                if claim is None:
                    raise Refused(f"failed to get the following PVCs [{name}]")
                if (dataset := _dataset_of(claim)) is not None:
                    _require_bound(api, namespace, dataset)
                    sidecar = _sidecar(api, namespace, dataset)
                    if sidecar is None:
                        return pod
                    _ensure(api, namespace, injection.script(sidecar.mount_type))
                    sidecars[name] = sidecar
        if not sidecars:
            return pod
        return injection.inject(pod, sidecars, native=self.native, unique=uuid4().hex[:8])

    def _hook(self, label: str, value: str) -> dict[str, Any]:
        rule = {
            "operations": ["CREATE"],
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "resources": ["pods"],
        }
        bundle = base64.b64encode(self._ca.cert_pem.bytes()).decode()
        return {
            "name": f"{label.replace('/', '.')}.sidecar.fuse.fluid.io",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": self._url, "caBundle": bundle},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "IfNeeded",
            "timeoutSeconds": 15,
            "sideEffects": "None",
            "objectSelector": {"matchLabels": {label: value}},
            "rules": [rule],
        }


def _dataset_of(claim: dict[str, Any]) -> str | None:
    """Name of the Dataset that a claim stands for, or that wraps it."""
    labels = claim["metadata"].get("labels") or {}
    if (wrapper := labels.get(MANAGED_BY)) is not None:
        return str(wrapper)
    is_dataset = any(label.startswith(_DATASET_LABEL) for label in labels)
    return str(claim["metadata"]["name"]) if is_dataset else None


def _require_bound(api: AdminClient, namespace: str, name: str) -> None:
    path = f"/apis/data.fluid.io/v1alpha1/namespaces/{namespace}/datasets/{name}"
    dataset = _found(api, path)
    if dataset is None:
        raise Refused(f'datasets.data.fluid.io "{name}" not found')
    if (dataset.get("status") or {}).get("phase", "") in ("", "NotBound"):
        raise Refused(f'dataset "{namespace}/{name}" not bound')


def _sidecar(api: AdminClient, namespace: str, dataset: str) -> Sidecar | None:
    """None: something of it is missing."""
    fuse = _found(api, f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{dataset}-fuse")
    volume = _found(api, f"/api/v1/persistentvolumes/{namespace}-{dataset}")
    if fuse is None or volume is None:
        return None
    attributes = volume["spec"]["csi"]["volumeAttributes"]
    template = fuse["spec"]["template"]["spec"]
    return Sidecar(template, attributes["fluid_path"], attributes["mount_type"])


def _ensure(api: AdminClient, namespace: str, script: dict[str, Any]) -> None:
    """Make the ConfigMap of a script; one of that name is taken as it is, as the real one does."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    if _found(api, f"{path}/{script['metadata']['name']}") is None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", **script}
        try:
            api.create(path, body)
        except CommandError:  # Two pods at once.
            if _found(api, f"{path}/{script['metadata']['name']}") is None:
                raise


def _found(api: AdminClient, path: str) -> dict[str, Any] | None:
    if api.status(path) != 200:
        return None
    try:
        found: dict[str, Any] = api.get(path)
    except CommandError:
        return None
    return found


def _server(
    review: Callable[[dict[str, Any]], dict[str, Any]], address: str, port: int, ca: trustme.CA
) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = {
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": review(body["request"]),
            }
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """The tests' output is theirs."""

    server = ThreadingHTTPServer((address, port), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(address).configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server

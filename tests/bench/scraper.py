"""The agent's own metrics, read as a Prometheus in the tenant reads those of kubelets.

In: a tenant and the name of a virtual node in it. Out: the text of the node's `/metrics`. Makes an
account with that one right. Not by way of the API server: its proxy refuses addresses of this host.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.clusters import Cluster

_NAME = "bench-scraper"
_NAMESPACE = "kube-system"
_SECONDS = 20.0


class Scraper:
    """An account that may read metrics of nodes."""

    def __init__(self, tenant: Cluster, node: str) -> None:
        account = f"--serviceaccount={_NAMESPACE}:{_NAME}"
        right = ("--verb=get", "--resource=nodes/metrics")
        where = f"--namespace={_NAMESPACE}"
        tenant.kubectl("create", "serviceaccount", _NAME, where)
        tenant.kubectl("create", "clusterrole", _NAME, *right)
        tenant.kubectl("create", "clusterrolebinding", _NAME, f"--clusterrole={_NAME}", account)
        token = tenant.kubectl("create", "token", _NAME, where, "--duration=24h").strip()
        self._headers = {"Authorization": f"Bearer {token}"}
        self._tenant = tenant
        self._node = node
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    def text(self) -> str:
        """Now. Fails while the node does not run."""
        node = json.loads(self._tenant.kubectl("get", "node", self._node, "-o", "json"))
        addresses = {each["type"]: each["address"] for each in node["status"]["addresses"]}
        port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        url = f"https://{addresses['InternalIP']}:{port}/metrics"
        request = urllib.request.Request(url, headers=self._headers)
        with urllib.request.urlopen(request, timeout=_SECONDS, context=self._tls) as answer:
            text: str = answer.read().decode()
            return text

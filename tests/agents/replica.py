"""Further replicas of an agent, each with an address and credentials of its own.

In: a joined federation. Out: the same with another configuration file. As in a cluster, where each
pod has an address and a token; the audit logs then tell the replicas apart.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.agents.join import SYSTEM_NAMESPACE, TENANT_ACCOUNT, join_compute, uid_of

if TYPE_CHECKING:
    from tests.agents.join import Federation


def replica(
    federation: Federation, identity: str, address: str, *, advertise: str = ""
) -> Federation:
    """The federation as a replica of that name sees it that listens on that address.

    `advertise`: what stands before all replicas, if anything does.
    """
    config = yaml.safe_load(federation.config.read_text())
    config["kubelet"] |= {"listen": address, "advertise": advertise or address}
    folder = federation.directory / identity
    folder.mkdir(mode=0o700)
    config["tenant"]["kubeconfig"] = str(
        federation.tenant.service_account_kubeconfig(
            SYSTEM_NAMESPACE, TENANT_ACCOUNT, folder / "tenant.kubeconfig"
        )
    )
    uid = uid_of(federation.tenant)
    for cluster in config["clusters"]:
        name = cluster["name"]
        compute, known = federation.computes[name], federation.config
        made = join_compute(compute, name, uid=uid, config=known, directory=folder)
        cluster["kubeconfig"] = str(made)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return replace(federation, config=path)


def credential_ids(federation: Federation) -> set[str]:
    """How audit logs call the credentials of a replica (Kubernetes 1.32, KEP-4193)."""
    config = yaml.safe_load(federation.config.read_text())
    files = [config["tenant"]["kubeconfig"], *(c["kubeconfig"] for c in config["clusters"])]
    return {f"JTI={_token_id(Path(file))}" for file in files}


def _token_id(kubeconfig: Path) -> str:
    token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
    return str(_claims(token)["jti"])


def _claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return decoded

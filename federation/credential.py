"""The agent's credential in a compute cluster: a ServiceAccount token in a kubeconfig in a Secret.

In: a token, or a kubeconfig that holds one. Out: whose it is and until when, by its own claims (not
verified: they only say when to renew), and kubeconfigs with another token. `vnode join` makes the
first one, the agent renews it; both by `request_token` (KEP-1205). Pure but for that one call. A
token is in no repr, error or log.
"""

import base64
import binascii
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import yaml

from vnode.kube.client import KubeClient
from vnode.kube.resources import SERVICE_ACCOUNTS
from vnode.kube.types import JSON, JSONObject, object_in

SECRET_KEY = "kubeconfig"  # noqa: S105 - the key of a Secret, not what it holds
"""Key of the Secret under which the kubeconfig lies."""
SYSTEM_NAMESPACE = "vnode-system"
"""Of the ServiceAccounts in compute clusters."""
SHORTEST_LIFE = 600.0
"""Seconds; API servers refuse tokens that end earlier (validation of TokenRequest)."""


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class AccountToken:
    """A ServiceAccount's token and its time, in Unix seconds of the API server that made it."""

    value: str = field(repr=False)
    account: Account
    issued_at: float
    expires_at: float

    @property
    def life(self) -> float:
        """Seconds from its making to its end."""
        return self.expires_at - self.issued_at


class _Claims(msgspec.Struct):
    sub: str = ""
    iat: float = 0.0
    exp: float = 0.0


class _Issued(msgspec.Struct, frozen=True, rename="camel"):
    token: str
    expiration_timestamp: str

    def __repr__(self) -> str:
        return f"_Issued(until {self.expiration_timestamp})"


class _Reply(msgspec.Struct, frozen=True):
    status: _Issued


def account_of(tenant: str) -> Account:
    """The ServiceAccount of a tenant's agent in compute clusters."""
    return Account(SYSTEM_NAMESPACE, f"vnode-{tenant}")


def secret_name(cluster: str) -> str:
    """The Secret in the tenant that holds the kubeconfig of a compute cluster."""
    return f"vnode-compute-{cluster}"


def read_token(text: str) -> AccountToken | None:
    """What a token says of itself; None: it is no ServiceAccount's, or does not end."""
    try:
        body = text.split(".")[1]
        decoded = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        claims = msgspec.json.decode(decoded, type=_Claims)
    except (IndexError, ValueError, binascii.Error, msgspec.DecodeError):
        return None
    kind, _, rest = claims.sub.partition(":serviceaccount:")
    namespace, _, name = rest.partition(":")
    if kind != "system" or not namespace or not name or claims.exp <= claims.iat:
        return None
    return AccountToken(text, Account(namespace, name), claims.iat, claims.exp)


async def request_token(client: KubeClient, account: Account, *, seconds: float) -> AccountToken:
    """A fresh token of a ServiceAccount. How long it lives is up to the API server in the end.

    Raises KubeError: Forbidden without the right to create serviceaccounts/token, NotFound without
    the account.
    """
    spec = {"audiences": [], "expirationSeconds": int(seconds)}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    reply = await client.create(
        SERVICE_ACCOUNTS,
        body,
        _Reply,
        namespace=account.namespace,
        name=account.name,
        subresource="token",
    )
    known = read_token(reply.status.token)
    if known is not None:
        return known
    end = datetime.fromisoformat(reply.status.expiration_timestamp).timestamp()
    return AccountToken(reply.status.token, account, end - seconds, end)


def kubeconfig(
    cluster: str,
    *,
    server: str,
    ca: bytes | None,
    token: str,
    tls_server_name: str | None = None,
    proxy: str | None = None,
) -> str:
    """A kubeconfig with that token. `ca`: PEM; None: the system's list of CAs."""
    about: JSONObject = {"server": server}
    if ca is not None:
        about["certificate-authority-data"] = base64.b64encode(ca).decode()
    if tls_server_name is not None:
        about["tls-server-name"] = tls_server_name
    if proxy is not None:
        about["proxy-url"] = proxy
    document: JSONObject = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": about}],
        "users": [{"name": "vnode", "user": {"token": token}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "vnode"}}],
        "current-context": cluster,
    }
    return yaml.safe_dump(document, sort_keys=False)


def token_in(text: str, context: str | None) -> AccountToken | None:
    """The ServiceAccount token that a context of a kubeconfig uses; None: it uses none."""
    token = object_in(_user(_document(text), context)).get("token")
    return read_token(token) if isinstance(token, str) else None


def server_in(text: str, context: str | None) -> str:
    """URL of the API server that a context of a kubeconfig leads to; empty: to none."""
    document = _document(text)
    wanted = _named(document, "contexts", "context", context or document.get("current-context"))
    server = _named(document, "clusters", "cluster", wanted.get("cluster")).get("server")
    return server.rstrip("/") if isinstance(server, str) else ""


def with_token(text: str, context: str | None, token: str) -> str:
    """The kubeconfig with another token in that context."""
    document = _document(text)
    _user(document, context)["token"] = token
    return yaml.safe_dump(document, sort_keys=False)


def _document(text: str) -> JSONObject:
    try:
        return object_in(yaml.load(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError:
        return {}


def _user(document: JSONObject, context: str | None) -> JSONObject:
    """The user entry of a context (None: the current one); empty where there is none."""
    wanted = _named(document, "contexts", "context", context or document.get("current-context"))
    return _named(document, "users", "user", wanted.get("user"))


def _named(document: JSONObject, plural: str, singular: str, name: JSON) -> JSONObject:
    entries = document.get(plural)
    for entry in entries if isinstance(entries, list) else ():
        if object_in(entry).get("name") == name:
            return object_in(object_in(entry).get(singular))
    return {}

"""Where a cluster is and how to reach it: from kubeconfig or in-cluster files to TLS and a token.

In: a `Connection` (which file, which context). Out: an `Access`, which holds the server's URL, a
TLS context and the Authorization header. Files are read in a thread; exec plugins and auth
providers are the affair of `vnode.kube.plugins`. Everything that can be wrong raises `ConfigError`
saying what is wrong, where, and what to do; contents of files never appear in a message.
`Credentials` owns the result and loads it again when it gets old, or when `unchanged` says that the
files say something else.
"""

import asyncio
import base64
import hashlib
import json
import os
import ssl
import tempfile
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from vnode.kube.errors import ConfigError
from vnode.kube.kubeconfig import ClientCertificate, Kubeconfig, read_kubeconfig
from vnode.kube.plugins import Login, log_in, needs_plugin

__all__ = ["FILE_MAX_AGE", "Access", "Connection", "load", "unchanged"]

FILE_MAX_AGE = 60.0
"""Seconds after which kubeconfigs, tokens and certificates in files are looked at again."""
SERVICE_TOKEN_FILENAME = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105
SERVICE_CERT_FILENAME = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


@dataclass(frozen=True, slots=True)
class Connection:
    """Where and how to reach one cluster."""

    name: str
    """How messages call this cluster, for example `tenant` or `clusters[0]`."""
    kubeconfig: Path | None = None
    """None: the service account that Kubernetes mounts into our own pod."""
    context: str | None = None
    """None: the kubeconfig's current-context."""
    user_agent: str = "vnode"


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """What is needed to talk to one API server, as of the moment of loading."""

    server: str
    """URL without trailing slash; may have a path (API servers behind Rancher)."""
    tls: ssl.SSLContext | None
    """None: plain http."""
    authorization: str | None = field(repr=False)
    """Value of the Authorization header."""
    certificate: ClientCertificate | None = field(repr=False)
    ca_source: str
    """Where the trusted CAs came from, for messages."""
    tls_digest: bytes
    """Changes whenever connections must be made anew (another CA, certificate or server, or
    whether it is verified)."""
    tls_server_name: str | None = None
    proxy: str | None = None
    max_age: float | None = None
    """Seconds after which it should be loaded again; None: only if the server refuses it."""
    source: bytes | None = field(default=None, repr=False)
    """Changes whenever the kubeconfig, or a file that it names, says something else."""


async def load(connection: Connection) -> Access:
    """Load the connection's files and credentials. Raises ConfigError."""
    try:
        if connection.kubeconfig is None:
            return await asyncio.to_thread(_load_in_cluster)
        return await _load_kubeconfig(connection.kubeconfig, connection.context)
    except (ConfigError, OSError) as error:
        raise ConfigError(f"{connection.name}: {error}") from error.__cause__


async def unchanged(connection: Connection, access: Access) -> bool:
    """Whether the connection's files still say what `access` was made of; no plugin is run.

    Raises ConfigError where they cannot be read.
    """
    if connection.kubeconfig is None or access.source is None:
        return True  # They are read when it reaches its age.
    try:
        found = await asyncio.to_thread(read_kubeconfig, connection.kubeconfig, connection.context)
    except ConfigError as error:
        raise ConfigError(f"{connection.name}: {error}") from None
    return _source(found) == access.source


def _load_in_cluster() -> Access:
    """As pods find their API server (kubernetes.io, "Accessing the Kubernetes API from a Pod")."""
    host, port = os.environ.get(_HOST), os.environ.get(_PORT)
    if not host or not port:
        raise ConfigError(
            f"no kubeconfig is set and {_HOST} is not in the environment, so "
            "this is no pod of a cluster; set kubeconfig to a file"
        )
    try:
        token = Path(SERVICE_TOKEN_FILENAME).read_bytes().strip().decode("ascii", "replace")
        ca = Path(SERVICE_CERT_FILENAME).read_bytes()
        why = "" if token and ca else "its token or its CA is empty"
    except OSError as error:
        why = str(error)
    if why:
        raise ConfigError(
            f"in-cluster service account: {why}; the pod needs "
            f"automountServiceAccountToken: true ({SERVICE_TOKEN_FILENAME})"
        )
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(
        server=server,
        tls=_tls(ca, ca_source=SERVICE_CERT_FILENAME),
        authorization=f"Bearer {token}",
        certificate=None,
        ca_source=SERVICE_CERT_FILENAME,
        tls_digest=_digest(server, ca, None, verify=True),
        max_age=FILE_MAX_AGE,
    )


async def _load_kubeconfig(path: Path, context: str | None) -> Access:
    found = await asyncio.to_thread(read_kubeconfig, path, context)
    login = await log_in(found) if needs_plugin(found) else _login(found)
    secure = found.server.startswith("https:")
    tls = (
        await asyncio.to_thread(
            _tls,
            found.ca,
            ca_source=found.ca_source,
            certificate=login.certificate,
            verify=found.verify,
        )
        if secure
        else None
    )
    return Access(
        server=found.server,
        tls=tls,
        authorization=login.authorization,
        certificate=login.certificate,
        ca_source=found.ca_source,
        tls_digest=_digest(found.server, found.ca, login.certificate, verify=found.verify),
        tls_server_name=found.tls_server_name,
        proxy=found.proxy or _environment_proxy(found.server),
        max_age=login.max_age,
        source=_source(found),
    )


def _login(found: Kubeconfig) -> Login:
    """By what the kubeconfig itself says: a token, a name with its password, or nothing."""
    user = found.user
    authorization = None
    if token := user.get("token"):
        authorization = f"Bearer {token}"
    elif "username" in user and "password" in user:
        pair = f"{user['username']}:{user['password']}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Login(authorization, found.certificate)


def _tls(
    ca: bytes | None,
    *,
    ca_source: str,
    certificate: ClientCertificate | None = None,
    verify: bool = True,
) -> ssl.SSLContext:
    try:
        tls = ssl.create_default_context(cadata=ca.decode() if ca else None)
    except (ssl.SSLError, ValueError):
        raise ConfigError(
            f"the certificate authority in {ca_source} is not a PEM certificate; put the API "
            "server's CA there"
        ) from None
    # Python 3.13 began to refuse CAs without key identifiers, which many clusters have and which
    # every other Kubernetes client accepts. Trust itself does not depend on them.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        _load_certificate(tls, certificate)
    return tls


def _digest(
    server: str, ca: bytes | None, certificate: ClientCertificate | None, *, verify: bool
) -> bytes:
    digest = hashlib.blake2b(b"%d" % verify + server.encode(), digest_size=16)
    for part in (ca, certificate and certificate.certificate, certificate and certificate.key):
        digest.update(b"\0" + (part or b""))
    return digest.digest()


def _source(found: Kubeconfig) -> bytes:
    own = found.certificate
    digest = hashlib.blake2b(digest_size=16)
    for part in (found.ca, own and own.certificate, own and own.key):
        digest.update(b"%d:" % len(part or b"") + (part or b""))
    rest = [found.server, found.verify, found.tls_server_name, found.proxy, found.user]
    digest.update(json.dumps(rest, sort_keys=True, default=str).encode())
    return digest.digest()


def _load_certificate(tls: ssl.SSLContext, certificate: ClientCertificate) -> None:
    # OpenSSL takes keys from files only. The file is private to us, in memory where the machine
    # has a place for that, and gone before this function returns.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.NamedTemporaryFile(dir=memory) as file:
        file.write(certificate.certificate + b"\n" + certificate.key)
        file.flush()
        try:
            tls.load_cert_chain(file.name, password=lambda: "")
        except (ssl.SSLError, ValueError):
            raise ConfigError(
                f"the client certificate and key in {certificate.source} are unusable (not PEM, "
                "encrypted, or not a pair); put a matching, unencrypted pair there"
            ) from None


def _environment_proxy(server: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY ask for."""
    parts = urllib.parse.urlsplit(server)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"

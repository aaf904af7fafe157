"""Reading a kubeconfig file: which cluster, user and certificates one context means.

In: a path and a context name. Out: a `Kubeconfig` with all files that it refers to already read
(relative paths count from the kubeconfig's folder, as in kubectl). Blocking: call it in a thread.
Raises ConfigError that names the file and the entry, never a value.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from vnode.kube.errors import ConfigError

__all__ = ["ClientCertificate", "Kubeconfig", "read_kubeconfig"]

_Entry = Mapping[str, object]


@dataclass(frozen=True, slots=True, repr=False)
class ClientCertificate:
    """A PEM certificate chain and its key."""

    certificate: bytes
    key: bytes
    source: str
    """Where they came from, for messages."""


@dataclass(frozen=True, slots=True, repr=False)
class Kubeconfig:
    """One context of a kubeconfig."""

    path: Path
    server: str
    ca: bytes | None
    ca_source: str
    verify: bool
    tls_server_name: str | None
    proxy: str | None
    certificate: ClientCertificate | None
    user: _Entry
    """The user entry without certificates; a token file is replaced by its token."""
    user_source: str

    def document(self) -> dict[str, object]:
        """A kubeconfig of just this server and user, as kubernetes_asyncio takes it."""
        return {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {"server": self.server}}],
            "users": [{"name": "it", "user": dict(self.user)}],
        }


def read_kubeconfig(path: Path, context: str | None) -> Kubeconfig:
    """Read one context of a kubeconfig and the files it names. Raises ConfigError."""
    reader = _Reader(path)
    document = reader.document()
    name = context or document.get("current-context")
    if not isinstance(name, str) or not name:
        raise reader.error("it has no current-context; set one there or name a context")
    chosen = reader.named(document, "contexts", "context", name)
    cluster_name, user_name = chosen.get("cluster"), chosen.get("user")
    if not isinstance(cluster_name, str):
        raise reader.error(f"context {name!r} names no cluster")
    cluster = reader.named(document, "clusters", "cluster", cluster_name)
    # A context without a user is legal: the server then decides (anonymous, or a plain port).
    user = reader.named(document, "users", "user", user_name) if user_name else {}
    return reader.kubeconfig(cluster, f"clusters[{cluster_name}]", user, f"users[{user_name}]")


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path

    def error(self, text: str) -> ConfigError:
        return ConfigError(f"kubeconfig {self._path}: {text}")

    def document(self) -> _Entry:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise self.error("no such file; mount it there or correct the path") from None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise self.error(f"cannot be read: {reason}") from None
        try:
            document = yaml.load(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            # Only the place: the text around it may be a token.
            mark = getattr(error, "problem_mark", None)
            where = f" near line {mark.line + 1}" if mark else ""
            raise self.error(f"not valid YAML{where}; correct the file") from None
        if not isinstance(document, dict) or not isinstance(document.get("clusters"), list):
            raise self.error("not a kubeconfig (it has no list of clusters); check the path")
        return document

    def named(self, document: _Entry, plural: str, singular: str, name: object) -> _Entry:
        entries = document.get(plural) or []
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise self.error(f"{plural} is not a list of named entries")
        for entry in entries:
            if entry.get("name") == name:
                value = entry.get(singular) or {}
                if not isinstance(value, dict):
                    raise self.error(f"{plural}[{name}].{singular} is not a mapping")
                return value
        known = ", ".join(repr(e.get("name")) for e in entries) or "none"
        raise self.error(f"no {singular} {name!r} in {plural} (there: {known})")

    def kubeconfig(
        self, cluster: _Entry, cluster_source: str, user: _Entry, user_source: str
    ) -> Kubeconfig:
        server = cluster.get("server")
        if not isinstance(server, str) or not server.startswith(("https://", "http://")):
            raise self.error(f"{cluster_source} has no server URL (https://...)")
        ca, ca_source = self._material(cluster, "certificate-authority", cluster_source)
        certificate, source = self._material(user, "client-certificate", user_source)
        key, _ = self._material(user, "client-key", user_source)
        if (certificate is None) != (key is None):
            raise self.error(f"{user_source} needs client-certificate and client-key together")
        return Kubeconfig(
            path=self._path,
            server=server.rstrip("/"),
            ca=ca,
            ca_source=ca_source if ca else "the system's list of CAs",
            verify=not cluster.get("insecure-skip-tls-verify", False),
            tls_server_name=self._text(cluster, "tls-server-name"),
            proxy=self._text(cluster, "proxy-url"),
            certificate=(
                ClientCertificate(certificate, key, source) if certificate and key else None
            ),
            user=self._login(user, user_source),
            user_source=user_source,
        )

    def _login(self, user: _Entry, source: str) -> _Entry:
        left_out = ("client-certificate", "client-key", "tokenFile")
        login = {key: value for key, value in user.items() if not key.startswith(left_out)}
        token_file = self._text(user, "tokenFile")
        if token_file:  # wins over `token`, as in kubectl
            token = self._read(token_file, f"{source}.tokenFile").strip()
            if not token:
                raise self.error(f"{source}.tokenFile {token_file} is empty")
            login["token"] = token.decode("ascii", "replace")
        plugin = login.get("exec")
        if isinstance(plugin, dict) and "/" in str(plugin.get("command", "")):
            command = str(self._path.parent / str(plugin["command"]))
            login["exec"] = {**plugin, "command": command}
        return login

    def _material(self, entry: _Entry, name: str, source: str) -> tuple[bytes | None, str]:
        """Content of `<name>-data` (base64), or of the file that `<name>` names."""
        data = entry.get(f"{name}-data")
        if data:
            where = f"{self._path} ({source}.{name}-data)"
            try:
                return base64.b64decode("".join(str(data).split()), validate=True), where
            except binascii.Error:
                raise self.error(f"{source}.{name}-data is not base64") from None
        file = self._text(entry, name)
        if not file:
            return None, ""
        return self._read(file, f"{source}.{name}"), str(self._path.parent / file)

    def _read(self, file: str, source: str) -> bytes:
        path = self._path.parent / file
        try:
            return path.read_bytes()
        except OSError as error:
            raise self.error(
                f"{source}: cannot read {path}: {error.strerror}; mount it there or correct it"
            ) from None

    @staticmethod
    def _text(entry: _Entry, name: str) -> str | None:
        value = entry.get(name)
        return value if isinstance(value, str) and value else None

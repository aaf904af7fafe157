"""Who asked which API server for what: its audit log, followed while it grows.

In: files of JSON lines. Out: `Request`s in the order of their ends. A request whose API server was
killed may have no line although it was carried out: what was done is told by `history`, who did it
by this. A line that was cut off by a kill is joined to the next one: both are looked for in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_BEGINS = b'{"kind":"Event","apiVersion":"audit.k8s.io/'


@dataclass(frozen=True, slots=True)
class Request:
    """One line."""

    cluster: str
    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    received: float
    """Unix seconds at which the API server got it."""
    answered: float
    body: Mapping[str, Any]
    """What was sent; empty where the policy keeps none."""
    answer: Mapping[str, Any]
    line: str
    """The evidence, shortened."""

    @property
    def succeeded(self) -> bool:
        """The answer was good. Not: the request was carried out."""
        return 200 <= self.code < 300


class AuditLog:
    """Reads on from where it was."""

    def __init__(self, cluster: str, file: Path) -> None:
        self._cluster = cluster
        self._file = file
        self._at = 0
        self.garbled = 0
        """Lines that could not be read."""

    def news(self) -> Iterator[Request]:
        """What was written since."""
        with self._file.open("rb") as log:
            log.seek(self._at)
            text = log.read()
        whole = text.rfind(b"\n") + 1
        self._at += whole
        for line in text[:whole].splitlines():
            for part in _parts(line):
                try:
                    yield read(self._cluster, orjson.loads(part))
                except orjson.JSONDecodeError:
                    self.garbled += 1


def _parts(line: bytes) -> Iterator[bytes]:
    """A cut line and its successor are two."""
    second = line.find(_BEGINS, 1)
    if second > 0:
        yield line[:second]
        yield from _parts(line[second:])
    elif line:
        yield line


def read(cluster: str, entry: Mapping[str, Any]) -> Request:
    """One line, decoded."""
    ref = entry.get("objectRef", {})
    name = ref.get("name", "")
    answer = entry.get("responseObject") or {}
    return Request(
        cluster=cluster,
        user=entry.get("user", {}).get("username", ""),
        verb=entry["verb"],
        resource=ref.get("resource", ""),
        subresource=ref.get("subresource", ""),
        namespace=ref.get("namespace", ""),
        name=name,
        code=entry.get("responseStatus", {}).get("code", 0),
        received=_seconds(entry["requestReceivedTimestamp"]),
        answered=_seconds(entry["stageTimestamp"]),
        body=entry.get("requestObject") or {},
        answer=answer,
        line=_short(cluster, entry),
    )


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _short(cluster: str, entry: Mapping[str, Any]) -> str:
    ref = entry.get("objectRef", {})
    path = "/".join(ref.get(k, "") for k in ("resource", "namespace", "name", "subresource"))
    meta = (entry.get("requestObject") or {}).get("metadata", {})
    sent = (entry.get("requestObject") or {}).get("preconditions") or {
        key: meta[key] for key in ("uid", "resourceVersion") if key in meta
    }
    code = entry.get("responseStatus", {}).get("code", "none")
    uid = (entry.get("responseObject") or {}).get("metadata", {}).get("uid", "")
    return (
        f"{entry['requestReceivedTimestamp']} {cluster} {entry.get('user', {}).get('username')} "
        f"{entry['verb']} {path.rstrip('/')} sent={orjson.dumps(sent).decode()} code={code}"
        + (f" uid={uid}" if uid else "")
        + f" audit={entry.get('auditID', '')}"
    )

"""Signature version 3 (ACS3-HMAC-SHA256) of Alibaba Cloud's OpenAPI, for calls of the RPC style.

In: an access key, the call's host, action and flat parameters, a time and a nonce. Out: the query
string exactly as it was signed and the headers to send with it. Pure: the caller owns clock and
random numbers. Nothing here fails; a wrong key is found by the service.

Written by us since the official SDK opens a connection per call and sleeps in the event loop when
it retries. The SDK is the oracle in `tests/unit/federation/eci/test_sdk.py`.
Source: "V3 request structure and signature" of Alibaba Cloud's SDK documentation.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

__all__ = ["ALGORITHM", "VERSION", "AccessKey", "Signed", "sign"]

ALGORITHM = "ACS3-HMAC-SHA256"
VERSION = "2018-08-08"
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class AccessKey:
    """An AccessKey pair, with the token that belongs to it where STS gave it out."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Signed:
    """One call, ready to be sent as POST to `/?query` with an empty body."""

    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


def sign(
    parameters: Mapping[str, str],
    *,
    key: AccessKey,
    host: str,
    action: str,
    date: str,
    nonce: str,
    version: str = VERSION,
) -> Signed:
    """Sign one call. `host` is what the Host header will say, with the port unless it is usual.

    `date` is UTC as 2026-01-31T12:00:00Z; the service takes it for 15 minutes. No nonce may be
    used twice in that time.
    """
    headers = {
        "host": host,
        "x-acs-action": action,
        "x-acs-content-sha256": _EMPTY,
        "x-acs-date": date,
        "x-acs-signature-nonce": nonce,
        "x-acs-version": version,
    }
    if key.token:
        headers["x-acs-security-token"] = key.token
    query = "&".join(f"{_encoded(k)}={_encoded(parameters[k])}" for k in sorted(parameters))
    names = sorted(headers)
    signed_names = ";".join(names)
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in names)
    canonical = f"POST\n/\n{query}\n{lines}\n{signed_names}\n{_EMPTY}"
    to_sign = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(key.secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"{ALGORITHM} Credential={key.id},SignedHeaders={signed_names},Signature={signature}"
    )
    return Signed(query=query, headers={**headers, "Authorization": authorization})


def _encoded(text: str) -> str:
    return quote(text, safe="~")

"""Whether a call is signed with a known key, by signature version 3 as documented.

Written from the documentation and apart from the product's signer: two readings of one page.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from tests.eci.refusal import Refusal

_FORM = re.compile(
    r"ACS3-HMAC-SHA256 Credential=(?P<key>[^,]+),SignedHeaders=(?P<names>[^,]+),"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_VALID = 900.0
"""Seconds that a signature's time may be away from the service's."""


class Verifier:
    """Knows secrets by key id, and the nonces of the last 15 minutes."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._nonces: dict[str, float] = {}

    def check(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        now: float,
    ) -> str:
        """Return the key's id, or raise the Refusal that the call deserves.

        `headers` have names in lower case.
        """
        form = _FORM.fullmatch(headers.get("authorization", ""))
        if form is None:
            raise Refusal("IncompleteSignature", "The request signature is incomplete.")
        names = form["names"].split(";")
        must = {n for n in headers if n.startswith("x-acs-")} | {"host"}
        if names != sorted(names) or not must <= set(names):
            raise Refusal("IncompleteSignature", "Not every common header is signed.")
        needed = {"x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce"}
        if not needed <= headers.keys():
            raise Refusal("IncompleteSignature", "A common header is missing.")
        secret = self._keys.get(form["key"])
        if secret is None:
            raise Refusal("InvalidAccessKeyId.NotFound", "Specified key is not found.", status=404)
        if headers["x-acs-content-sha256"] != hashlib.sha256(body).hexdigest():
            raise Refusal("SignatureDoesNotMatch", "The body is not what was signed.")
        pairs = sorted(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        canonical_query = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in pairs)
        lines = [method, path, canonical_query]
        lines += [f"{name}:{headers[name].strip()}" for name in names]
        lines += ["", form["names"], headers["x-acs-content-sha256"]]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        wanted = hmac.new(
            secret.encode(), f"ACS3-HMAC-SHA256\n{digest}".encode(), hashlib.sha256
        ).hexdigest()
        if not hmac.compare_digest(wanted, form["signature"]):
            raise Refusal("SignatureDoesNotMatch", "Specified signature does not match.")
        self._fresh(headers["x-acs-date"], headers["x-acs-signature-nonce"], now)
        return form["key"]

    def _fresh(self, date: str, nonce: str, now: float) -> None:
        try:
            at = datetime.strptime(date, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise Refusal("InvalidTimeStamp.Format", "The time stamp is malformed.") from None
        if abs(at - now) > _VALID:
            raise Refusal("InvalidTimeStamp.Expired", "Specified time stamp is expired.")
        self._nonces = {n: t for n, t in self._nonces.items() if now - t < 2 * _VALID}
        if nonce in self._nonces:
            raise Refusal("SignatureNonceUsed", "Specified signature nonce was used already.")
        self._nonces[nonce] = now

"""ServiceAccount tokens that pods mount; their values never appear in a repr."""

from dataclasses import dataclass, field
from typing import NamedTuple


class TokenKey(NamedTuple):
    """One ServiceAccount token that a pod mounts: equal keys share a token."""

    audience: str
    """Empty: the tenant API server's own audience."""
    expiration_seconds: int

    @property
    def data_key(self) -> str:
        """Key under which the token is kept in the pod's token object."""
        return f"{self.expiration_seconds}-{self.audience.encode().hex() or 'default'}"


@dataclass(frozen=True, slots=True)
class Token:
    """A ServiceAccount token; its value never appears in a repr."""

    value: str = field(repr=False)
    refresh_at: float
    """Unix seconds at which it should be renewed, well before it expires."""

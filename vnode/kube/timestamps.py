"""The time formats of the Kubernetes API: Unix seconds in, text out, and back. Pure."""

from datetime import UTC, datetime

__all__ = ["parse", "rfc3339", "rfc3339_micro"]


def rfc3339(seconds: float) -> str:
    """metav1.Time: whole seconds, e.g. `2027-01-15T08:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """metav1.MicroTime, e.g. `2027-01-15T08:00:00.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: str) -> float:
    """Unix seconds of a metav1.Time or MicroTime. ValueError for anything else."""
    return datetime.fromisoformat(text).timestamp()

"""Unix seconds as the time formats of the Kubernetes API. Pure."""

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """metav1.Time: whole seconds, e.g. `2027-01-15T08:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """metav1.MicroTime, e.g. `2027-01-15T08:00:00.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

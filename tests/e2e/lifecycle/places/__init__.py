"""One place of each kind that the lifecycle suite runs against."""

from tests.e2e.lifecycle.places.kubernetes import KubernetesPlace
from tests.e2e.lifecycle.places.memory import MemoryPlace

PLACES = (MemoryPlace, KubernetesPlace)

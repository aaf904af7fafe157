"""One place of each kind that the lifecycle suite runs against."""

from tests.e2e.lifecycle.place import Place
from tests.e2e.lifecycle.places.eci import EciPlace
from tests.e2e.lifecycle.places.folder import FolderPlace
from tests.e2e.lifecycle.places.kubernetes import KubernetesPlace
from tests.e2e.lifecycle.places.memory import MemoryPlace

PLACES: tuple[type[Place], ...] = (MemoryPlace, KubernetesPlace, FolderPlace, EciPlace)

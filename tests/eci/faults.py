"""Switches that make the emulator misbehave. They are set by tests at any time."""

from dataclasses import dataclass, field

from tests.eci.refusal import Refusal


@dataclass
class Faults:
    """What is wrong with the service at present."""

    down: bool = False
    """Connections are cut without an answer, and nothing is done."""
    slow: float = 0.0
    """Seconds (of the injected clock) before each answer."""
    lose_answers: int = 0
    """So many of the next writes are carried out and their connections cut."""
    fail_with: int = 0
    """HTTP status of every answer, with an HTML page as a proxy sends; 0 is none."""
    refuse: dict[str, Refusal] = field(default_factory=dict)
    """By action: the error that it always gets."""
    no_stock: set[str] = field(default_factory=set)
    """Instance types that are sold out; `*` is everything."""
    max_cpu: float = 1e9
    """The account's quota of vCPUs in the region."""
    blind: bool = False
    """The key may not list: listings are empty, without an error, as documented."""

"""Switches that make the emulator misbehave, set at any time: by tests, or by `control`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tests.eci.refusal import Refusal


@dataclass
class Failing:
    """The next `times` calls of an action get this error; None is all of them."""

    action: str
    refusal: Refusal
    times: int | None = None


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
    failing: list[Failing] = field(default_factory=list)
    """Errors by action and count; see `fail`."""
    no_stock: set[str] = field(default_factory=set)
    """Instance types that are sold out, in a zone only as `type@zone`; `*` is everything."""
    max_cpu: float = 1e9
    """The account's quota of vCPUs in the region."""
    privileged: bool = True
    """The account may run privileged containers."""
    blind: bool = False
    """The key may not list: listings are empty, without an error, as documented."""
    unseen: float = 0.0
    """Seconds for which a new group is in no listing yet, though it can be named."""
    page: int = 0
    """Groups on a page at most, whatever was asked for; 0 is no such limit."""

    def fail(
        self,
        action: str,
        *,
        times: int | None = None,
        code: str = "InternalError",
        message: str = "The request processing has failed due to some unknown error.",
        status: int = 500,
    ) -> None:
        """The next `times` calls of the action get this error, before anything is done."""
        self.failing.append(Failing(action, Refusal(code, message, status=status), times))

    def due(self, action: str) -> Refusal | None:
        """The error that this call of the action gets; it is counted."""
        for failing in self.failing:
            if failing.action == action and failing.times != 0:
                if failing.times is not None:
                    failing.times -= 1
                return failing.refusal
        return self.refuse.get(action)

    def sold_out(self, kind: str, zone: str) -> bool:
        """Whether nothing of an instance type, or of no type, is left in a zone."""
        return bool(self.no_stock & {"*", f"*@{zone}", kind or "*", f"{kind}@{zone}"})

    def change(self, wanted: Mapping[str, Any]) -> None:
        """Set switches by name, as JSON has them. Raises ValueError for an unknown one.

        `fail` is a list of objects with the arguments of `fail`; an empty one ends all of them.
        `refuse` is `{action: {code, message, status}}`.
        """
        known = {one.name for one in fields(self)} - {"failing"} | {"fail"}
        if unknown := wanted.keys() - known:
            raise ValueError(f"no such switch: {', '.join(sorted(unknown))}")
        for name, value in wanted.items():
            if name == "fail":
                self.failing.clear()
                for one in value:
                    self.fail(**one)
            elif name == "refuse":
                self.refuse = {
                    action: Refusal(said["code"], said["message"], status=said.get("status", 400))
                    for action, said in value.items()
                }
            elif name == "no_stock":
                self.no_stock = set(value)
            else:
                setattr(self, name, type(getattr(self, name))(value))

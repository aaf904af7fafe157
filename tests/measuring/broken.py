"""`vnode` without one of its rules, so that a judge can be seen to find it. For tests only.

In: the rules that a judge looks for, the name of one of them, and the arguments of `vnode`. Out:
`vnode`, with exactly that rule taken out of the modules that it is made of. Nothing of this is in
the product, and a rule that is not found where it is expected is an error: a switch that breaks
nothing would prove nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

Rules = Mapping[str, Callable[[], None]]
"""What takes a rule out, by the rule's name."""


def program(module: str, rule: str | None) -> list[str]:
    """What an agent is that does without a rule of a module; nothing for a whole one."""
    return [sys.executable, "-m", module, rule] if rule else []


def main(rules: Rules, arguments: list[str]) -> None:
    """Break the rule, then be `vnode`."""
    name, *rest = arguments
    rules[name]()
    from federation.cli import app

    app(args=rest, prog_name="vnode")

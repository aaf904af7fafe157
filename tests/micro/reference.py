"""The loop that everything is compared with: plain Python on dictionaries, lists and text. Pure.

It must not change: thresholds are ratios to it. It takes 1 ms or so.
"""

from __future__ import annotations

_ROUNDS = 3000


def loop() -> int:
    """Always the same work."""
    found: dict[str, list[int]] = {}
    for number in range(_ROUNDS):
        key = f"{number % 97}/{number % 13}"
        found.setdefault(key, []).append(number)
    longest = ""
    for key, numbers in found.items():
        longest = max(longest, key + "-".join(map(str, numbers[:3])), key=len)
    return len(found) + len(longest)

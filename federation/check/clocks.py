"""Do the clocks of all API servers and our own agree?

In: the Date of answers (whole seconds). Out: who is off, by the median of all. Tokens and
certificates are valid by these clocks, and the ages that users see are differences of them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from statistics import median

from federation.check.findings import Finding, ok, warn, wrong
from federation.check.links import format_seconds
from federation.check.site import Peer, Site
from vnode.kube.errors import ApiError, KubeError

__all__ = ["OURS", "clocks", "judge_clocks"]

OURS = "this machine"
SOME = 5.0
"""Seconds of difference that are worth a word; Date and the way here are good for two."""
MUCH = 60.0
"""Seconds of difference with which credentials are refused."""
_MEND = "timedatectl set-ntp true  # on"


async def clocks(site: Site) -> Sequence[Finding]:
    """Ask all servers that answer what time it is."""
    opened = [peer for peer in site.peers if peer.opened is not None]
    answers = await asyncio.gather(*map(_offset, opened))
    known = {p.name: each for p, each in zip(opened, answers, strict=True) if each is not None}
    return judge_clocks({OURS: 0.0, **known})


async def _offset(peer: Peer) -> float | None:
    try:
        await peer.client.request("GET", "/version", timeout=10)
    except ApiError:
        pass  # a refusal has a Date too
    except KubeError:
        return None
    return peer.client.clock_offset


def judge_clocks(offsets: Mapping[str, float]) -> list[Finding]:
    """Who is how far off, in seconds ahead of our clock."""
    if len(offsets) == 2 and abs(sum(offsets.values())) >= SOME:
        return [_differ(offsets)]
    middle = median(offsets.values())
    findings = []
    for name, offset in offsets.items():
        off = offset - middle
        if abs(off) < SOME:
            continue
        where = "ahead of" if off > 0 else "behind"
        text = f"the clock of {name} is {format_seconds(abs(off))} {where} the others"
        place = name if name == OURS else f"the control plane of {name}"
        findings.append((wrong if abs(off) >= MUCH else warn)(text, f"{_MEND} {place}"))
    return findings or [ok(f"{len(offsets)} clocks agree within {SOME:.0f} s")]


def _differ(offsets: Mapping[str, float]) -> Finding:
    """Of two nobody knows which one is right."""
    off, names = abs(sum(offsets.values())), " and ".join(offsets)
    text = f"the clocks of {names} differ by {format_seconds(off)}"
    return (wrong if off >= MUCH else warn)(text, f"{_MEND} whichever is wrong")

"""What `vnode join` shows of what it did: a table with the next steps, or JSON.

In: the plan, what became of its objects, what is there beyond it, and what was made for the tenant.
Out: text. Pure; no
token is in it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from federation.join.apply import Applied, Result
from federation.join.credential import Credential, configuration
from federation.join.leftovers import Leftover, commands
from federation.join.plan import Plan
from vnode.kube.timestamps import rfc3339

_LEFT = "Of this tenant, there, and not asked for now. If no other cluster entry needs it:"
_HEAD = ("KIND", "NAMESPACE", "NAME", "RESULT")


def as_text(
    plan: Plan,
    applied: Sequence[Applied],
    made: Credential | None,
    *,
    left: Sequence[Leftover],
    file: Path | None,
    dry_run: bool,
) -> str:
    """A table, and what to do next; with a dry run only what would become of each object."""
    rows = [_HEAD]
    would = "would be " if dry_run else ""
    for one in applied:
        result = one.result if one.result is Result.UNCHANGED else f"{would}{one.result}"
        rows.append((one.kind, one.namespace or "-", one.name, result))
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if left:
        lines += ["", _LEFT, *commands(left)]
    if dry_run:
        return "\n".join(lines)
    lines += ["", *_next_steps(made, file), "", "In the agent's configuration:"]
    lines += yaml.safe_dump(configuration(plan), sort_keys=False).rstrip().splitlines()
    return "\n".join(lines)


def _next_steps(made: Credential | None, file: Path | None) -> list[str]:
    if made is None:
        return [
            "No token was made. For the tenant's Secret run this again with --secret-file FILE."
        ]
    until = rfc3339(made.expires_at)
    return [
        f"Token of ServiceAccount {made.account}, valid until {until}; the agent renews it.",
        "In the tenant cluster, once, then keep no copy:",
        f"kubectl apply --filename={file}",
    ]


def as_json(
    plan: Plan,
    applied: Sequence[Applied],
    made: Credential | None,
    *,
    left: Sequence[Leftover],
    file: Path | None,
    dry_run: bool,
) -> str:
    """The same for programs."""
    secret = None
    if made is not None:
        secret = {
            "name": made.secret,
            "file": str(file),
            "serviceAccount": str(made.account),
            "expires": rfc3339(made.expires_at),
        }
    shown = {
        "tenant": plan.tenant,
        "cluster": plan.cluster,
        "dryRun": dry_run,
        "objects": [one._asdict() for one in applied],
        "leftovers": [one._asdict() for one in left],
        "secret": secret,
        "configuration": configuration(plan),
    }
    return json.dumps(shown, indent=2)

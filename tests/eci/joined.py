"""An account on the emulator as a compute cluster of an agent.

In: where the emulator listens. Out: an entry of `clusters:`, and its access key in files.
"""

from collections.abc import Mapping
from pathlib import Path

from tests.eci.connecting import KEY

BURST = "burst"
"""Name of the account among the tenant's compute clusters."""


def account_cluster(
    url: str, folder: Path, *, port: int, pool: Mapping[str, object] | None = None
) -> Mapping[str, object]:
    """The entry; the key is written to `folder`. `pool`: more settings of its only pool."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "accessKeyId").write_text(KEY.id)
    (folder / "accessKeySecret").write_text(KEY.secret)
    limits = {"cpu": "5000", "memory": "20Ti", "pods": "5000"}
    return {
        "name": BURST,
        "kind": "eci",
        "region": "cn-beijing",
        "endpoint": url,
        "credentials": str(folder),
        "vSwitches": ["vsw-1"],
        "securityGroup": "sg-1",
        "tokenTTL": "1h",
        "pools": [{"port": port, "limits": limits, **(pool or {})}],
    }

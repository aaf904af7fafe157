"""What a replica has anew each time that it leads a compute cluster."""

from unittest.mock import MagicMock

import pytest

from federation import cluster
from federation.cluster import ComputeCluster


async def test_what_was_not_said_while_it_led_is_not_said_when_it_leads_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []

    def recorder(*_: object, **__: object) -> None:
        made.append(object())
        raise LookupError("far enough")

    served = ComputeCluster(MagicMock(), MagicMock(), MagicMock(), may_write=lambda: True)
    monkeypatch.setattr(cluster, "EventRecorder", recorder)
    for _ in range(2):
        with pytest.raises(LookupError):
            await served.serve()
    assert len(made) == 2

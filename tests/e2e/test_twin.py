"""A whole run beside a second tenant with the same names: `python -m tests.e2e --twin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.twin import Twin


@pytest.mark.run_last
def test_tenants_with_the_same_names_share_nothing(other_tenant: Twin | None) -> None:
    if other_tenant is None:
        pytest.skip("judges a whole run: python -m tests.e2e --twin")
    print(other_tenant.tally)
    other_tenant.judge()
    assert {kind for kind, _, _ in other_tenant.tally.beside} == {"configmaps", "secrets", "pods"}
    assert other_tenant.tally.ran

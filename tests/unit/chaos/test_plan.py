from tests.chaos.plan import LASTS, TENANT, FaultKind, plan, refusal

COMPUTES = ("a", "b")


def test_a_seed_gives_the_same_round_again() -> None:
    assert plan(7, 3, COMPUTES) == plan(7, 3, COMPUTES)


def test_rounds_and_seeds_differ() -> None:
    rounds = [plan(seed, number, COMPUTES) for seed in (1, 2) for number in range(20)]
    assert len({(tuple(r.acts), tuple(r.faults)) for r in rounds}) == 40


def test_every_kind_of_fault_happens_in_200_rounds() -> None:
    kinds = {fault.kind for number in range(200) for fault in plan(1, number, COMPUTES).faults}
    assert kinds == set(FaultKind)


def test_copies_are_deleted_in_compute_clusters_only() -> None:
    faults = [fault for number in range(200) for fault in plan(1, number, COMPUTES).faults]
    assert any(fault.target == TENANT for fault in faults)
    below = (FaultKind.DELETE_COPIES, FaultKind.FORCE_COPIES, FaultKind.WHILE_DEAD)
    assert {fault.target for fault in faults if fault.kind in below} == set(COMPUTES)


def test_all_begins_within_the_round_and_in_order() -> None:
    for number in range(50):
        planned = plan(1, number, COMPUTES)
        for times in ([act.at for act in planned.acts], [fault.at for fault in planned.faults]):
            assert times == sorted(times)
            assert 0 <= times[0] <= times[-1] <= LASTS


def test_refusals_are_of_several_kinds() -> None:
    faults = [fault for number in range(50) for fault in plan(1, number, COMPUTES).faults]
    assert {refusal(fault) for fault in faults} == {409, 429, 500, 503}

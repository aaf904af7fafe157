from tests.load.session_report import Round, Starts, report
from tests.measuring.footprint import Footprint

MIB = 1 << 20


def a_round(name: str, *, agent: int, kubelet: int, after: int = 40) -> Round:
    return Round(
        name=name,
        asked=1024,
        starts={
            "direct": Starts([0.01], [0.1]),
            "through": Starts([0.02], [0.15]),
        },
        questions=4,
        answered=1024,
        before={"agent": 100 * MIB, "kubelet": 80 * MIB},
        during={"agent": (100 + agent) * MIB, "kubelet": (80 + kubelet) * MIB},
        after={"agent": 100 * MIB, "kubelet": 80 * MIB},
        agent_before=Footprint(100 * MIB, 40),
        agent_during=Footprint((100 + agent) * MIB, 2088),
        agent_after=Footprint(100 * MIB, after),
    )


def test_a_session_through_costs_what_a_direct_one_does_and_what_is_added() -> None:
    direct, through = (
        a_round("direct", agent=0, kubelet=500),
        a_round("through", agent=200, kubelet=9),
    )
    together = report(direct, through).text().split("together")[1].split("\n")[0].split()
    assert together == ["500", "KiB", "700", "KiB"]


def test_starts_are_compared_as_a_ratio() -> None:
    made = report(a_round("direct", agent=0, kubelet=1), a_round("through", agent=1, kubelet=0))
    assert made.passed
    assert "1.50" in made.text()
    assert "2.00" in made.text()


def test_a_descriptor_that_stays_open_is_missed() -> None:
    through = a_round("through", agent=1, kubelet=0, after=45)
    made = report(a_round("direct", agent=0, kubelet=1), through)
    assert made.missed == [
        "through: the agent has closed all descriptors: 40 before, 2088 during, 45 after"
    ]


def test_a_session_that_does_not_answer_is_missed_with_its_words() -> None:
    through = a_round("through", agent=1, kubelet=0)
    through.answered -= 1
    through.failures.append("through: no answer in 60 s")
    (missed,) = report(a_round("direct", agent=0, kubelet=1), through).missed
    assert "1023 of 1024" in missed
    assert "no answer in 60 s" in missed

import pytest

from tests.measuring.waiting import MeasurementError, wait


def test_the_first_true_answer_is_given() -> None:
    answers = iter([0, "", "there", "later"])
    assert wait(lambda: next(answers), "it is there", timeout=5.0, every=0.0) == "there"


def test_what_does_not_come_is_named() -> None:
    with pytest.raises(MeasurementError, match="in vain until pigs fly"):
        wait(lambda: False, "pigs fly", timeout=0.0, every=0.0)

from federation.backends.eci.parameters import Parameters, flatten
from tests.eci.wire import nested


def test_lists_count_from_one_and_leaves_are_texts() -> None:
    flat = flatten({"Container": [{"Cpu": 0.5, "EnvironmentVar": [{"Key": "A"}, {"Key": "B"}]}]})

    assert flat == {
        "Container.1.Cpu": "0.5",
        "Container.1.EnvironmentVar.1.Key": "A",
        "Container.1.EnvironmentVar.2.Key": "B",
    }


def test_truth_is_written_as_the_api_does() -> None:
    assert flatten({"A": True, "B": False}) == {"A": "true", "B": "false"}


def test_what_is_none_or_empty_is_left_out_but_not_the_empty_text() -> None:
    assert flatten({"A": None, "B": [], "C": {}, "D": ""}) == {"D": ""}


def test_the_emulator_reads_back_what_was_flattened() -> None:
    tree: Parameters = {
        "Container": [{"Name": "a", "Arg": ["x", "y"]}],
        "DnsConfig": {"NameServer": ["1"]},
    }

    assert nested(flatten(tree)) == tree

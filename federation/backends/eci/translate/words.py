"""Commands, arguments and variables, as far as ECI's limits go.

In: what a container says. Out: the same in ECI's shape, or `Refused` with what to do; never a value
in the text, since values may come out of Secrets.
"""

from collections.abc import Callable, Sequence

from federation.backends.eci.translate import limits
from federation.backends.eci.translate.policy import EciFeature, EciPolicy
from federation.backends.translation.rules import Refused

__all__ = ["check_value", "check_variable", "expand", "split"]

_STEERING = ("ECI_", "__ECI_")


def split(command: Sequence[str], args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Command and arguments within their limits.

    What is run is the command followed by the arguments, so words may change sides where there is a
    command. Without one the image has its own, and only arguments can be given.

    Raises:
        Refused: no division is within the limits.
    """
    if not command:
        if len(args) > limits.ARGUMENTS:
            raise Refused(
                f"{len(args)} arguments are more than the {limits.ARGUMENTS} that ECI takes: put "
                "them into a script, or give the command too"
            )
        return [], list(args)
    whole = [*command, *args]
    for first in range(len(command), len(whole) + 1):
        if len(whole) - first <= limits.ARGUMENTS:
            break
    # Long scripts are mostly the last words: arguments have no documented length.
    while first > 1 and len(whole) - first < limits.ARGUMENTS and _too_long(whole[:first]):
        first -= 1
    if first > limits.WORDS or _too_long(whole[:first]):
        raise Refused(
            f"ECI takes a command of at most {limits.WORDS} words with {limits.WORD} characters "
            f"each, and {limits.ARGUMENTS} arguments: put it into a script"
        )
    return whole[:first], whole[first:]


def _too_long(command: Sequence[str]) -> bool:
    return any(len(word) > limits.WORD for word in command)


def check_variable(name: str, policy: EciPolicy) -> None:
    """Refuse a variable's name that ECI does not take, or by which it would be steered.

    Raises:
        Refused: it may not be set.
    """
    if not limits.VARIABLE.fullmatch(name):
        raise Refused(
            f"variable {name[:128]!r}: ECI takes names of at most 128 letters, digits and '_': "
            "rename it"
        )
    if name.startswith(_STEERING) and EciFeature.ECI_VARIABLES not in policy.allow:
        raise Refused(
            f"variable {name!r} steers ECI itself: remove it, or let the pool's configuration "
            f"allow {EciFeature.ECI_VARIABLES}"
        )


def check_value(name: str, value: str) -> None:
    """Refuse a variable's value that is too long for ECI.

    Raises:
        Refused: the value, which is not shown, is too long.
    """
    if len(value) > limits.VALUE:
        raise Refused(
            f"variable {name!r}: its value has {len(value)} characters, ECI takes {limits.VALUE}: "
            "mount it as a file"
        )


def expand(text: str, value: Callable[[str], str | None]) -> str:
    """Replace `$(NAME)` by its value as a kubelet does; `$$` is `$`, unknown names stay.

    The rules are those of k8s.io/kubernetes third_party/forked/golang/expansion.
    """
    if "$" not in text:
        return text
    result: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        result.append(text[at:dollar])
        follows, at = text[dollar + 1], dollar + 2
        if follows == "$":
            result.append("$")
        elif follows == "(" and (close := text.find(")", at)) >= 0:
            name, at = text[at:close], close + 1
            found = value(name)
            result.append(f"$({name})" if found is None else found)
        else:
            result.append(f"${follows}")
    result.append(text[at:])
    return "".join(result)

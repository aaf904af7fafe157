"""How the emulator says no. The codes are those of docs/eci.md, known or assumed."""


class Refusal(Exception):
    """Becomes an error answer."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(name: str, message: str) -> Refusal:
    return Refusal(f"InvalidParameter.{name}", message)


def missing(name: str) -> Refusal:
    return Refusal("MissingParameter", f"The input parameter {name} is mandatory.")

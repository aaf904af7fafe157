"""The forms in which commands show what they found."""

import enum

__all__ = ["Output"]


class Output(enum.StrEnum):
    """For people, or for programs."""

    TABLE = "table"
    JSON = "json"

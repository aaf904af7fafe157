"""What can go wrong in the harness, by meaning.

HarnessError
├── ProgramError    a program is missing and could be neither downloaded, built nor installed
├── SlotError       every slot of this machine is taken, or its ports or addresses are
├── StartError      a component ended or did not become ready; carries the end of its log
├── CommandError    kubectl or a host command failed; carries what it printed
└── UnsupportedError  not possible with these clusters or on this machine
"""

from __future__ import annotations


class HarnessError(Exception):
    """Base of all errors that the harness raises on purpose."""


class ProgramError(HarnessError):
    """A program that clusters need cannot be had."""


class SlotError(HarnessError):
    """No free slot, port or address range."""


class StartError(HarnessError):
    """A component did not start."""


class CommandError(HarnessError):
    """A command that the harness ran has failed."""


class UnsupportedError(HarnessError):
    """The machine or the kind of cluster does not allow this."""

"""The errors of an adapter. A client library's own errors are translated into these at one place in each adapter.

AdapterError
 |- NotInstalled    the client library is missing
 |- UnknownSystem   no adapter of that name
 |- Unsupported     the system cannot do what the scenario asks, and why: a cell of the report, not a failure
 |- BadSetting      a setting that the client or the server does not know or refuses
 |- Unreachable     no server answers at the address
 '- Refused         the server answered and said no (rights, limits, a name that is taken)
"""

from __future__ import annotations


class AdapterError(Exception):
    """Base of all that an adapter raises; its text is shown to the user as it is."""


class NotInstalled(AdapterError):
    """The client library is missing; the text says which command installs it."""


class UnknownSystem(AdapterError):
    """No adapter of that name; the text names the nearest."""


class Unsupported(AdapterError):
    """The system cannot do what was asked; the text completes "unsupported, because ..."."""


class BadSetting(AdapterError):
    """A setting that the client or the server does not know, or a value that it refuses."""


class Unreachable(AdapterError):
    """No server answers at the address that was given."""


class Refused(AdapterError):
    """The server answered and refused: rights, limits, a name in use by somebody else."""

"""The suite's own errors, each with the exit code that the command line ends with (formats.md).

BenchError
 |- UsageError        2  input: a scenario, an option, a spec
 |- EnvironmentProblem 3  the machine: a folder, a disk, a port
 |  '- ServerError    3  a server that cannot be had or does not come up
 |- Incompatible      4  another revision's endpoint or results
 '- Interrupted     130  Ctrl-C; what was measured is kept
"""

from __future__ import annotations


class BenchError(Exception):
    """Base of the suite's errors: the text is for the user, no traceback is shown."""

    exit_code = 1


class UsageError(BenchError):
    """Input that is wrong; names file, line and field where there are such, and says what would be right."""

    exit_code = 2


class EnvironmentProblem(BenchError):
    """The machine does not give what is needed."""

    exit_code = 3


class ServerError(EnvironmentProblem):
    """A server cannot be had, does not come up, or died; the text ends with its own last log lines."""


class Incompatible(BenchError):
    """An endpoint or a results folder of another, unreadable format."""

    exit_code = 4


class Interrupted(BenchError):
    """The user pressed Ctrl-C; results so far are kept."""

    exit_code = 130

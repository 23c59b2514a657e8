"""The two errors that a user may meet.

Every folder raises them, so they live in the leftmost one that needs them.
"""

from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave is wrong. The command line prints the problems and exits with 2.

    Args:
        problems: one line a problem: where, what, the rule, the fix.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class RunError(RuntimeError):
    """A run failed for a reason that is not in its input (exit code 1)."""

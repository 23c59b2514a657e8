"""The command line: one file a command. Stdout is the result, stderr the log.

Exit codes: 0 done, 1 the run failed (or a bug, with its traceback), 2 bad input, 130 interrupted.
"""

import errno
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from search_spaces.errors import InputError, RunError
from search_spaces.files import no_space

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `nas` console script; the one place where errors become lines and exit codes.

    Args:
        arguments: as typed after `nas`; those of this process where not given.
    """
    from nas.cli.app import app

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(args=arguments, prog_name="nas")
    except InputError as error:
        _stop(BAD_INPUT, *error.problems)
    except RunError as error:
        _stop(FAILED, str(error))
    except (MemoryError, RuntimeError) as error:
        # XLA says it in a RuntimeError of its own.
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        wanted = str(error).partition("\n")[0].removeprefix("RESOURCE_EXHAUSTED: ")
        _stop(
            FAILED,
            f"out of memory ({wanted or 'nothing is left'}): a smaller supernet.batch takes less, "
            "and smaller options of the space",
        )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _stop(BAD_INPUT, *no_space(Path(error.filename or Path.cwd() / "output")).problems)
    except SystemExit as error:
        # Typer turns a KeyboardInterrupt into this code, without a word.
        if error.code == INTERRUPTED:
            _stop(INTERRUPTED, f"interrupted{_resume_hint(arguments)}")
        raise
    sys.exit(0)


def _resume_hint(arguments: list[str]) -> str:
    if arguments[:1] != ["run"]:
        return ""
    resumed = arguments if "--resume" in arguments else [*arguments, "--resume"]
    return f"; resume with: {shlex.join(['nas', *resumed])}"


def _stop(code: int, *lines: str) -> NoReturn:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.exit(code)

"""Strict rules for every test: shapes checked at run time, no implicit promotion, own caches."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException
from hypothesis import settings
from jaxtyping import install_import_hook

# A whole number is good where a float is asked for (PEP 484).
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def typecheck(function: Callable[..., Any]) -> Callable[..., Any]:
    """`beartype`, but for functions with a hint that it can't check: `Self`, some Protocols."""
    try:
        return _beartype(function)
    except BeartypeDecorHintException:
        return function


# Before anything of ours is imported, so that every annotated shape is checked in the tests.
install_import_hook(
    ["kernels", "search_spaces", "hw_profiles", "predictors", "nas", "experiments"],
    f"{__name__}.typecheck",
)

_SCRATCH = Path(tempfile.gettempdir()) / f"hwnas-tests-{os.getuid()}"
# JAX does not write cache entries atomically, so pytest-xdist's workers don't share a folder.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")

os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Several workers share the cores: threads of one would wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_SCRATCH / "jax" / _WORKER)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
# The user's own tables and devices are neither read nor written.
_USERS = Path(os.environ.get("HWNAS_CACHE") or "~/.cache/hwnas").expanduser()
os.environ["HWNAS_CACHE"] = tempfile.mkdtemp(prefix="hwnas-cache-")
atexit.register(shutil.rmtree, os.environ["HWNAS_CACHE"], ignore_errors=True)
# But compilers that the user has installed are used where there are any,
if (_USERS / "compilers").is_dir():
    (Path(os.environ["HWNAS_CACHE"]) / "compilers").symlink_to((_USERS / "compilers").resolve())
# and what was compiled serves the next test run as well.
for _name, _folder in {"kernels": _SCRATCH / "kernels", "xla": _SCRATCH / "xla" / _WORKER}.items():
    _folder.mkdir(parents=True, exist_ok=True)
    (Path(os.environ["HWNAS_CACHE"]) / _name).symlink_to(_folder, target_is_directory=True)

settings.register_profile("strict", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("strict")

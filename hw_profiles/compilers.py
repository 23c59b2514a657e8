"""The compilers for devices that this machine lacks: where they are, and processes that run them.

libtpu and CUDA's plug-in may be installed beside hwnas, but there every JAX program that does not
set JAX_PLATFORMS loads both and says at length that it finds no device. So their place is a folder
of their own in hwnas' cache, which only the processes here see.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from hw_profiles.device import cache_folder
from kernels.targets import GPUS, TPUS
from search_spaces.errors import InputError
from search_spaces.files import write_json
from search_spaces.ir.graph import Graph
from search_spaces.ir.serialize import to_dict

# Of the answers of `compile_worker`, for those kept on disk.
_VERSION = 2
# A compile of a small network takes most of a core and some hundred megabytes.
_PROCESSES = 2
_ENVIRONMENT = {
    # The compilers are asked for by name; the default device is the only one that there is.
    "JAX_PLATFORMS": "cpu",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # What comes from a cache leaves no dump behind.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
}


@dataclass(frozen=True)
class Compiler:
    """A compiler from PyPI.

    Args:
        name: of its folder in the cache.
        extra: of hwnas, that installs it.
        requirements: what pip is asked for.
        files: by which it is found in a folder of packages.
        distribution: the package whose version is the compiler's.
    """

    name: str
    extra: str
    requirements: tuple[str, ...]
    files: tuple[str, ...]
    distribution: str

    @property
    def folder(self) -> Path:
        """Its own place, whether or not it is there."""
        return cache_folder() / "compilers" / self.name

    @property
    def install(self) -> str:
        """The command that puts it there."""
        what = " ".join(f"'{requirement}'" for requirement in self.requirements)
        return f"{sys.executable} -m pip install --target {self.folder} {what}"

    def find(self) -> tuple[str, Path]:
        """Its version and the folder of packages that it is in.

        Raises:
            InputError: it is not installed; the message has the command.
        """
        for place in (self.folder, *map(Path, sys.path)):
            if all((place / file).exists() for file in self.files):
                for found in distributions(name=self.distribution, path=[str(place)]):
                    return found.version, place
        raise InputError(
            f"the compiler for it is not installed; run: {self.install} "
            f"(or, into this environment: pip install 'hwnas[{self.extra}]')"
        )


# CUDA's plug-in is made for one release of JAX. cuDNN and cuBLAS are not needed to compile.
CUDA = Compiler(
    "cuda",
    "estimate-cuda",
    (f"jax-cuda13-plugin=={version('jax')}", "nvidia-cuda-nvcc>=13,<14"),
    ("jax_plugins/xla_cuda13", "nvidia/cu13/bin/ptxas"),
    "jax-cuda13-plugin",
)
TPU = Compiler("tpu", "estimate-tpu", ("libtpu==0.0.42.*",), ("libtpu/libtpu.so",), "libtpu")


def compiler_of(target: str) -> Compiler:
    """The compiler for a target.

    Raises:
        InputError: no such target.
    """
    if target in TPUS:
        return TPU
    if target in GPUS:
        return CUDA
    raise InputError(f"target {target!r}: must be one of {', '.join((*GPUS, *TPUS))}")


def compile_all(
    target: str,
    graphs: Sequence[Graph],
    batch: int,
    dtype: str,
    done: Callable[[int, dict[str, Any]], None],
) -> None:
    """Compile networks for a target, two at a time; what was compiled before is read from the disk.

    Args:
        target: a key of `kernels.targets.TPUS` or `GPUS`.
        graphs: the networks.
        batch: examples.
        dtype: of all arrays.
        done: told the index of each network and what `compile_worker.compiled` gives for it, with
            the seconds that it took (`compile_s`, of processors `cpu_s`); in any order, from this
            thread.

    Raises:
        InputError: the compiler is missing, or it refuses a network.
    """
    compiler = compiler_of(target)
    release, place = compiler.find()
    folder = cache_folder() / "estimates" / f"{target}-{release}-b{batch}-{dtype}-v{_VERSION}"
    todo = []
    for number, graph in enumerate(graphs):
        path = folder / f"{graph.digest()}.json"
        if path.exists():
            done(number, json.loads(path.read_text()))
        else:
            todo.append((number, graph, path))
    if not todo:
        return
    with _workers(target, place, min(_PROCESSES, len(todo))) as idle:

        def ask(item: tuple[int, Graph, Path]) -> tuple[int, dict[str, Any]]:
            number, graph, path = item
            worker = idle.get()
            try:
                answer = worker.ask({"graph": to_dict(graph), "batch": batch, "dtype": dtype})
            finally:
                idle.put(worker)
            if "error" in answer:
                raise InputError(f"target {target}: can't compile a network: {answer['error']}")
            write_json(path, answer)
            return number, answer

        with ThreadPoolExecutor(_PROCESSES) as pool:
            futures = [pool.submit(ask, item) for item in todo]
            try:
                for future in as_completed(futures):
                    done(*future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _command(target: str) -> list[str]:
    return [sys.executable, "-m", "hw_profiles.compile_worker", target]


class _Worker:
    """A process of `compile_worker`, one question at a time."""

    def __init__(self, target: str, place: Path) -> None:
        # The packages of hwnas come from where these do, whatever the current folder is.
        paths = [str(place), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        joined = os.pathsep.join(path for path in paths if path)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            _command(target),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": joined},
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (OSError, ValueError):
            process.wait()
            self._log.seek(0)
            last = " ".join(self._log.read().strip().splitlines()[-1:])
            return {"error": f"the compiler's process ended with {process.returncode}: {last}"}

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


@contextmanager
def _workers(target: str, place: Path, n: int) -> Iterator["SimpleQueue[_Worker]"]:
    workers = [_Worker(target, place) for _ in range(n)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)
    try:
        yield idle
    finally:
        for worker in workers:
            worker.close()

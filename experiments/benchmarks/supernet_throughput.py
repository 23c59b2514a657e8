"""How fast a supernet trains and is evaluated.

    python -m experiments.benchmarks.supernet_throughput

The step is the whole of it: forward passes of the largest, the smallest and random sub-networks,
distillation, backward passes, clipping, AdamW, averaged weights. `--peer torch` times the same step
written in plain PyTorch, in turns with ours; PyTorch must be installed for that.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from kernels.allocator import relaunch
from kernels.bench import limits, medians
from nas.config.schema import Experiment
from nas.data.dataset import Dataset, Split
from nas.data.dataset import statistics as pixel_statistics
from nas.supernet.evaluate import SupernetEvaluator
from nas.supernet.executors import ElasticExecutor, Executors
from nas.supernet.train import Trainer, gradients
from search_spaces.ir.count import count

SPACE = {
    "type": "mobilenet_v3",
    "resolution": [32],
    "channels": 3,
    "classes": 10,
    "stem": 16,
    "stem_stride": 1,
    "widths": [16, 24, 40, 56, 80],
    "strides": [2, 2, 1, 2, 1],
    "hswish": [False, False, True, True, True],
    "squeeze_excite": [False, False, False, False, False],
    "depth": [2, 3, 4],
    "kernel": [3, 5, 7],
    "expand": [3, 4, 6],
    "head": [480, 640],
}
_CALIBRATION, _VALIDATION, _EVALUATED = 512, 2048, 4
_SETTLE_S = 0.25  # threads of the one before may wait awake for more work


@dataclass
class Contestant:
    """Something to time.

    Args:
        name: of the executor; "as trained" is what training and evaluation take by themselves.
        step: one training step, whose work is done when it returns.
        evaluate: recalibration and accuracy of the random sub-networks.
    """

    name: str
    step: Callable[[], object]
    evaluate: Callable[[], object] | None


class Bench:
    """The supernet, its data and its ways to run.

    Args:
        batch: images a step.
        random_subnets: of a step, beside the largest and the smallest.
        seed: of weights, images and architectures.
    """

    def __init__(self, batch: int, random_subnets: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.batch = batch
        self.experiment = Experiment.model_validate(
            {
                "name": "throughput",
                "seed": seed,
                "space": SPACE,
                "data": {"type": "digits"},
                "supernet": {"epochs": 10, "batch": batch, "random_subnets": random_subnets},
                "devices": ["cpu"],
                "objectives": [{"metric": "accuracy"}],
            }
        )
        self.data = _noise(rng, _CALIBRATION + batch, _VALIDATION)
        self.executors = Executors(self.experiment.space.create())
        self.space = self.executors.space
        self.trainer = Trainer(self.experiment, self.data, self.executors)
        self.archs = self.space.sample(rng, random_subnets)
        self.static = self.executors.static_options(self.archs[0])
        self.images = self.trainer.prepare(
            self.data.train.images[:batch], jax.random.key(seed), (32, 32)
        )
        self.labels = self.data.train.labels[:batch]
        ends = np.stack([self.space.largest(), self.space.smallest()])
        self.graphs = [self.space.build(arch) for arch in (*ends, *self.archs)]
        self.members = np.concatenate([ends, self.archs])
        self.params = self.trainer.start()["params"]

    def step_gflop(self) -> float:
        """Multiplications and additions of a step: a backward pass costs two forward ones."""
        return sum(count(graph).macs for graph in self.graphs) * 2 * 3 * self.batch / 1e9

    def ours(self) -> list[Contestant]:
        """The executors, and what training takes of them by default."""
        masked, switch = self.executors.masked, self.executors.switch
        evaluations = [self._evaluation(which) for which in (None, masked, switch)]
        return [
            Contestant("as trained", self._trainer_step(), evaluations[0]),
            Contestant("masked", self._elastic_step(masked), evaluations[1]),
            Contestant("switch", self._elastic_step(switch), evaluations[2]),
            Contestant("sliced", self._sliced_step(), None),
        ]

    def _trainer_step(self) -> Callable[[], object]:
        state = [self.trainer.start()]
        rows = self.trainer.elastic.rows(self.archs)

        def step() -> None:
            state[0], loss = self.trainer.step(
                state[0], self.images, self.labels, self.static, rows
            )
            jax.block_until_ready((state[0], loss))

        return step

    def _elastic_step(self, elastic: ElasticExecutor) -> Callable[[], object]:
        @jax.jit
        def run(params: Any, images: Any, targets: Any, row: Any) -> Any:
            return gradients(lambda p: elastic(p, row, images, self.static)[0], params, targets)

        rows = elastic.rows(self.members)
        return self._step_of(lambda params, targets, i: run(params, self.images, targets, rows[i]))

    def _sliced_step(self) -> Callable[[], object]:
        compiled = [
            jax.jit(
                lambda params, targets, graph=graph: gradients(
                    lambda p: self.executors.sliced(p, graph, self.images)[0], params, targets
                )
            )
            for graph in self.graphs
        ]
        return self._step_of(lambda params, targets, i: compiled[i](params, targets))

    def _step_of(self, run: Callable[[Any, Any, int], Any]) -> Callable[[], object]:
        state = [self.trainer.start()]

        def step() -> None:
            params = state[0]["params"]
            (_, teacher), grads = run(params, self.trainer.hard_targets(self.labels), 0)
            targets = jax.nn.softmax(teacher)
            found = [grads, *(run(params, targets, i)[1] for i in range(1, len(self.graphs)))]
            state[0] = self.trainer.update(state[0], found)
            jax.block_until_ready(state[0])

        return step

    def _evaluation(self, elastic: ElasticExecutor | None) -> Callable[[], object]:
        evaluator = SupernetEvaluator(
            self.executors, self.params, self.data, _CALIBRATION, _VALIDATION
        )
        evaluator.elastic = elastic or evaluator.elastic
        archs = self.space.sample(np.random.default_rng(1), _EVALUATED)
        return lambda: evaluator.accuracies(archs, evaluator.validation)

    def compile_seconds(self) -> dict[str, dict[str, float]]:
        """Seconds to trace and compile a member's gradient, cold and from JAX's cache on disk."""
        out = {}
        with tempfile.TemporaryDirectory() as folder:
            jax.config.update("jax_compilation_cache_dir", folder)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            for name, elastic in (
                ("masked", self.executors.masked),
                ("switch", self.executors.switch),
            ):
                targets = self.trainer.hard_targets(self.labels)
                row = elastic.rows(self.archs)[0]
                times = []
                for _ in ("cold", "cached"):
                    jax.clear_caches()
                    start = time.perf_counter()
                    lowered = jax.jit(
                        lambda params, images, targets, row, run=elastic: gradients(
                            lambda p: run(p, row, images, self.static)[0], params, targets
                        )
                    ).lower(self.params, self.images, targets, row)
                    traced = time.perf_counter()
                    lowered.compile()
                    times.append((traced - start, time.perf_counter() - traced))
                (trace, cold), (_, cached) = times
                out[name] = {"trace_s": trace, "compile_s": cold, "cached_compile_s": cached}
        return out

    def torch(self) -> Contestant:
        """The peer, after a check that both compute the same logits."""
        import torch  # pyright: ignore[reportMissingImports]

        from experiments.benchmarks.torch_peer import TorchSupernet

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        params = jax.device_get(self.params)
        config = self.experiment.supernet
        device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        torch.backends.cudnn.benchmark = True
        # As XLA multiplies by default.
        torch.set_float32_matmul_precision("high")
        net = TorchSupernet(params, config.label_smoothing, self.trainer.ema, device)

        def tensor(images: np.ndarray) -> torch.Tensor:
            return torch.tensor(images.transpose(0, 3, 1, 2), device=device).contiguous(
                memory_format=torch.channels_last
            )

        images = tensor(np.array(self.images))
        labels = torch.tensor(self.labels, dtype=torch.int64, device=device)
        for graph in self.graphs:
            expected = np.asarray(self.executors.sliced(self.params, graph, self.images)[0])
            with torch.no_grad():
                found = net.forward(graph, images).cpu().numpy()
            # A GPU multiplies in TF32.
            tolerance = 1e-3 if device == "cpu" else 2e-2
            if not np.allclose(found, expected, atol=tolerance * np.abs(expected).max()):
                raise RuntimeError("the peer does not compute the same network")

        def batches(count: int) -> list[torch.Tensor]:
            drawn = np.random.default_rng(0).normal(size=(256, 32, 32, 3)).astype(np.float32)
            return [tensor(drawn)] * (count // 256)

        archs = self.space.sample(np.random.default_rng(1), _EVALUATED)
        graphs = [self.space.build(arch) for arch in archs]
        calibration, validation = batches(_CALIBRATION), batches(_VALIDATION)

        def step() -> None:
            net.step(self.graphs, images, labels)
            if device == "cuda":
                torch.cuda.synchronize()

        def evaluate() -> list[np.ndarray]:
            found = [net.evaluate(graph, calibration, validation) for graph in graphs]
            return [classes.cpu().numpy() for of_graph in found for classes in of_graph]

        return Contestant("PyTorch", step, evaluate)


def _noise(rng: np.random.Generator, train: int, validation: int) -> Dataset:
    def split(n: int) -> Split:
        images = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
        return Split(images, rng.integers(0, 10, n, np.int32))

    images = split(train)
    mean, std = pixel_statistics(images.images)
    classes = tuple("0123456789")
    return Dataset("noise", images, split(validation), classes, mean, std, lambda: split(1))


def rows(bench: Bench, contestants: Sequence[Contestant], rounds: int) -> list[dict[str, Any]]:
    """A row of figures for each contestant; ratios are to the last one."""
    steps = medians({c.name: c.step for c in contestants}, rounds, _SETTLE_S)
    calls = {c.name: c.evaluate for c in contestants if c.evaluate}
    evaluations = medians(calls, max(2, rounds // 3), _SETTLE_S)
    limit = limits().gflops
    images = _EVALUATED * (_CALIBRATION + _VALIDATION)
    base = contestants[-1].name
    out = []
    for c in contestants:
        gflops = bench.step_gflop() / steps[c.name] * 1e3
        row: dict[str, Any] = {
            "name": c.name,
            "step_images_s": bench.batch / steps[c.name] * 1e3,
            "step_ratio": steps[base] / steps[c.name],
            "step_gflops": gflops,
            "share_of_limit": gflops / limit,
        }
        if c.name in evaluations:
            row["evaluation_images_s"] = images / evaluations[c.name] * 1e3
            if base in evaluations:
                row["evaluation_ratio"] = evaluations[base] / evaluations[c.name]
        out.append(row)
    return out


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", choices=["torch"], help="time this too; ratios are to it")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--random-subnets", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default: %(default)s)")
    parser.add_argument(
        "--only", default="", help="a comma list of ours to time, e.g. sliced,switch; default: all"
    )
    parser.add_argument("--compile", action="store_true", help="time compiling instead")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    relaunch()
    bench = Bench(arguments.batch, arguments.random_subnets, seed=0)
    if arguments.compile:
        print(json.dumps(bench.compile_seconds(), indent=1))
        return
    wanted = arguments.only.split(",")
    contestants = [c for c in bench.ours() if arguments.only == "" or c.name in wanted]
    if not contestants:
        parser.error(f"--only {arguments.only}: there are: as trained, masked, switch, sliced")
    if arguments.peer:
        contestants.append(bench.torch())
    found = rows(bench, contestants, arguments.rounds)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    table = Table(title=f"batch {bench.batch}, {bench.step_gflop():.1f} GFLOP a step")
    for heading in found[0]:
        table.add_column(
            heading.replace("_", " "), justify="right" if heading != "name" else "left"
        )
    for row in found:
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()

"""Times the ONNX models beside it on this machine: `python3 measure.py`.

Needs Python 3.8, numpy and onnxruntime. Every visit to a model is noted in `results.jsonl`, which
`nas profile SPACE --device ID --import-results results.jsonl` reads; started again, it goes on.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

# A model is visited until it was seen so often while the reference was within 3 % of its best.
# While it is not, visits wait, until so much time has passed for each model.
QUIET_VISITS, MOST_VISITS, BUSY, PATIENCE_S = 20, 60, 1.03, 0.5


def load(model, threads, batch, rng):
    """A model (path or bytes) in ONNX Runtime with random input, ready to be called."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # Without it the threads of idle sessions burn the cores that the timed one needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_free_dimension_override_by_name("batch", batch)
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    binding = session.io_binding()
    for item in session.get_inputs():
        shape = [size if isinstance(size, int) else batch for size in item.shape]
        value = rng.standard_normal(shape).astype(np.float32)
        binding.bind_ortvalue_input(item.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    for item in session.get_outputs():
        binding.bind_output(item.name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def machine():
    """Where this runs, for the provenance of the table."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    files = {"cpuinfo": Path("/proc/cpuinfo"), "governor": governor}
    return {
        "host": platform.node(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "started_s": time.time(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        **{name: path.read_text() for name, path in files.items() if path.exists()},
    }


def timed_us(run, inner=1, clock=time.perf_counter):
    """Microseconds of a run, of `inner` timed together."""
    repeats = range(inner)
    start = clock()  # nothing but the runs from here on: Python's own steps find cold caches
    for _ in repeats:
        run()
    return round((clock() - start) * 1e6 / inner, 3)


def visit(run, once_us, reference):
    """Some warm-up runs, then about 2 ms of timed ones, the reference timed before and after each.

    Later runs of a visit are faster, so a visit is as long each time: it goes by `once_us`.
    """
    inner = max(1, int(np.ceil(20 / once_us)))
    times, references = [], []
    for _ in range(int(np.clip(2000 / once_us, 1, 3 * inner))):
        run()
    for number in range(int(np.clip(2000 / (once_us * inner), 3, 8)) + 1):
        if number:
            times.append(timed_us(run, inner))
        reference()  # untimed: the caches hold the model's data
        references.append(timed_us(reference))
    return {"inner": inner, "times_us": times, "references_us": references}


def enough(visits, bar_us):
    """Whether a model was visited often enough in moments when the reference was below the bar."""
    all_us = [visit["references_us"] for visit in visits]
    quiet = sum(any(max(us[i : i + 2]) <= bar_us for i in range(len(us) - 1)) for us in all_us)
    return quiet >= QUIET_VISITS or len(visits) >= MOST_VISITS


def main(here):
    """Visit all models, group by group, in rounds of random order, until each was seen enough."""
    work, rng = json.loads((here / "worklist.json").read_text()), np.random.default_rng()
    threads, batch = work["settings"]["threads"], work["settings"]["batch"]
    start = {"worklist": work, "machine": machine()}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    visits = {name: [] for group in work["groups"] for name in group}
    with (here / "results.jsonl").open("a+") as file:
        file.seek(0)
        for line in file.read().splitlines():
            if line.startswith('{"model"') and line.endswith("}"):
                visits[json.loads(line)["model"]].append(json.loads(line))
        # The line end before it closes a line that an interruption may have torn.
        file.write("\n" + json.dumps(start) + "\n")
        reference = load(str(here / "models/reference.onnx"), threads, batch, rng)
        for number, names in enumerate(work["groups"]):
            runs = {n: load(str(here / f"models/{n}.onnx"), threads, batch, rng) for n in names}
            once_us = {n: min(timed_us(runs[n]) for _ in range(4)) for n in names}
            todo, patient_s = names, time.time() + PATIENCE_S * len(names)
            while todo:
                seen = [us for some in visits.values() for v in some for us in v["references_us"]]
                bar_us = BUSY * np.quantile(seen, 0.02) if seen else np.inf
                todo = [n for n in names if not enough(visits[n], bar_us)]
                sys.stderr.write(f"\rgroup {number + 1}/{len(work['groups'])}: {len(todo)} left   ")
                for name in rng.permutation(todo).tolist():
                    start_s = time.time()
                    while start_s < patient_s and timed_us(reference) > bar_us:
                        start_s = time.time()
                    found = visit(runs[name], once_us[name], reference)
                    visits[name].append({"model": name, **found})
                    file.write(json.dumps(visits[name][-1]) + "\n")
                file.flush()
        file.write(json.dumps({"complete": True}) + "\n")
    sys.stderr.write(f"\ndone: bring {here / 'results.jsonl'} back\n")


if __name__ == "__main__":
    main(Path(__file__).parent)

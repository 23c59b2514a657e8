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

# Visits of each model while a reference is within 3 % of its best; when so many seconds for each
# model have passed, all visits count.
VISITS, BUSY, PATIENCE_S = 20, 1.03, 0.5


def load(model, threads, batch, rng):
    """A model (path or bytes) in ONNX Runtime with random input, ready to be called."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
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
    """Some warm-up runs, then about 2 ms of timed ones, the reference before and after each."""
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


def main(here):
    """Visit all models, group by group, in rounds of random order, until each was seen enough."""
    work, rng = json.loads((here / "worklist.json").read_text()), np.random.default_rng()
    setting = (work["settings"]["threads"], work["settings"]["batch"], rng)
    start, seen_us = {"worklist": work, "machine": machine()}, []
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-setting[0] :])
    visits = {name: 0 for names in work["groups"] for name in names}
    with (here / "results.jsonl").open("a+") as file:
        file.seek(0)
        for line in file.read().splitlines():
            if line.startswith('{"model"') and line.endswith("}"):
                visits[json.loads(line)["model"]] += 1
        # The line end before it closes a line that an interruption may have torn.
        file.write("\n" + json.dumps(start) + "\n")
        reference = load(str(here / "models/reference.onnx"), *setting)
        for names in work["groups"]:
            runs = {name: load(str(here / f"models/{name}.onnx"), *setting) for name in names}
            once_us = {name: min(timed_us(runs[name]) for _ in range(4)) for name in names}
            late_s = time.time() + PATIENCE_S * len(names)
            while todo := [name for name in names if visits[name] < VISITS]:
                sys.stderr.write(f"\r{len(todo)} of {len(names)} models of this group left   ")
                bar_us = BUSY * np.quantile(seen_us, 0.02) if seen_us else np.inf
                for name in rng.permutation(todo).tolist():
                    found = visit(runs[name], once_us[name], reference)
                    file.write(json.dumps({"model": name, **found}) + "\n")
                    us = found["references_us"]
                    visits[name] += min(map(max, us, us[1:])) <= bar_us or time.time() > late_s
                    seen_us += us
                file.flush()
        file.write(json.dumps({"complete": True}) + "\n")
    sys.stderr.write(f"\ndone: bring {here / 'results.jsonl'} back\n")


if __name__ == "__main__":
    main(Path(__file__).parent)

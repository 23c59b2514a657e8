import json
import subprocess
import sys

HEAVY = ["jax", "ray", "pandas", "flax", "onnxruntime", "onnx", "plotly", "sklearn", "orbax"]
CHILD = f"""
import json, sys, time
from nas.cli import main
try:
    main(["--help"])
except SystemExit as stopped:
    code = stopped.code
heavy = [name for name in {HEAVY} if name in sys.modules]
print(json.dumps([code, time.process_time(), heavy]), file=sys.stderr)
"""


def _help() -> tuple[int, float, list[str]]:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert "Usage: nas" in done.stdout
    return json.loads(done.stderr)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    """CPU time, the best of three: what a user waits for on a machine that is otherwise idle."""
    runs = [_help() for _ in range(3)]
    assert [code for code, _, _ in runs] == [0, 0, 0]
    assert runs[0][2] == []
    assert min(seconds for _, seconds, _ in runs) < 0.5


def test_search_spaces_and_experiment_files_need_no_jax() -> None:
    code = "import sys, nas.config, search_spaces.registry as r; r.create('mobilenet_v3').size()"
    code += f"; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_file_whose_evaluator_is_ones_own_is_checked_without_jax() -> None:
    code = "import sys, nas.cli\n"
    code += "try: nas.cli.main(['check', 'experiments/own_training.yaml'])\n"
    code += "except SystemExit as stopped: code = stopped.code\n"
    code += f"print(code, [name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_run_is_read_without_what_trains_it() -> None:
    code = "import sys, nas.workbench"
    code += "; print([name for name in ('orbax', 'optax', 'ray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

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

import inspect
import subprocess
import sys

import pytest

from nas.export import registry
from search_spaces.errors import InputError


@pytest.mark.parametrize("target", registry.names())
def test_every_format_resolves_to_an_exporter(target):
    *expected, options = list(inspect.signature(registry.Exporter.__call__).parameters)[1:]
    found = inspect.signature(registry.exporter(target)).parameters
    assert options == "options"
    assert list(found)[: len(expected)] == expected
    # What only one format knows has a default.
    assert all(p.default is not p.empty for p in list(found.values())[len(expected) :])


def test_an_unknown_format_gets_a_suggestion_or_the_list():
    with pytest.raises(InputError, match=r"unknown export format 'onx'; did you mean 'onnx'\?"):
        registry.exporter("onx")
    with pytest.raises(InputError, match="unknown export format 'pdf'; there are: c, onnx"):
        registry.exporter("pdf")


def test_the_list_is_there_without_any_runtime():
    heavy = {"onnx", "onnxruntime", "jax", "pandas", "ray"}
    code = f"import sys, nas.export.registry; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("kind", "targets"),
    [("cpu", {"onnx", "onnx-int8"}), ("mcu", {"c", "tflite"}), ("npu", {"tflite"})],
)
def test_devices_run_the_formats_that_are_made_for_them(kind, targets):
    assert {target for target in registry.names() if registry.runs_on(kind, target)} == targets

import json
from pathlib import Path

import pytest

from nas.config import json_schema


def test_the_schema_in_the_tree_is_current() -> None:
    assert json_schema.PATH.read_text(encoding="utf-8") == json_schema.text()


def test_it_knows_keys_and_choices() -> None:
    schema = json.loads(json_schema.text())
    assert {"name", "space", "data", "devices", "objectives"} <= set(schema["required"])
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["SearchConfig"]["properties"]["type"]["enum"][4] == "nsga2"
    keys = {"metric", "device", "min", "max", "probability"}
    assert set(schema["$defs"]["Constraint"]["properties"]) == keys


def test_check_tells_a_stale_file_from_a_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(json_schema, "PATH", tmp_path / "experiment.schema.json")
    assert json_schema.main(["--check"]) == 1
    assert "run: make docs" in capsys.readouterr().err
    assert json_schema.main([]) == 0
    assert json_schema.main(["--check"]) == 0

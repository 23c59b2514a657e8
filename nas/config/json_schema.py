"""The JSON schema by which editors complete and check experiment files.

`python -m nas.config.json_schema` writes it anew; with `--check` it says whether it is current.
"""

import json
import sys
from pathlib import Path

from nas.config.schema import Experiment

PATH = Path(__file__).with_name("experiment.schema.json")


def text() -> str:
    """The schema as it belongs into the file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(schema | Experiment.model_json_schema(), indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file, or with `--check` compare it; the exit code."""
    if arguments != ["--check"]:
        PATH.write_text(text(), encoding="utf-8")
        return 0
    current = PATH.exists() and PATH.read_text(encoding="utf-8") == text()
    if not current:
        sys.stderr.write(f"{PATH}: is not what nas/config/schema.py says; run: make docs\n")
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

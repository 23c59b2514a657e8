import errno
import json
import os

import pytest

from search_spaces import files
from search_spaces.errors import InputError


def test_the_new_content_replaces_the_old_and_no_temporary_file_stays(tmp_path):
    path = tmp_path / "a" / "b.json"
    files.write_json(path, {"x": 1})
    files.write_json(path, {"x": 2})
    assert json.loads(path.read_text()) == {"x": 2}
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_json_that_is_not_json_is_refused_before_the_file_is_touched(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, float("nan"))
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_the_old_file_and_says_what_is_free(tmp_path, monkeypatch, code):
    path = tmp_path / "table.json"
    files.write_text(path, "old")

    def full(descriptor):
        raise OSError(code, os.strerror(code))

    # Delayed allocation reports a full disk at fsync, after every write has succeeded.
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"table\.json: no space left: [\d.]+ \w+ free in .*resume"
    ):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written") as caught:
        files.write_text(tmp_path / "file" / "x", "new")
    assert len(caught.value.problems) == 1

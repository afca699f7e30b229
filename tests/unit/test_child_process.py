"""What child processes report, among whatever else they print."""

from __future__ import annotations

import json

from msinet_core.system.child_process import run_python


def test_documents_are_found_among_other_lines() -> None:
    printed = ["hello", json.dumps({"a": 1}), "{} of 3", '{"cut": ', json.dumps({"b": []})]
    done = run_python(f"print({chr(10).join(printed)!r})", timeout=60)
    assert done.documents == [{"a": 1}, {"b": []}]

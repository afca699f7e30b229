"""Files of expected failures."""

from __future__ import annotations

import pytest

from msinet_core.conformance.expected import ExpectedFailure, read_expected
from msinet_core.errors import UsageError

ROWS = ["forward/concat", "gradient/pool-3x3-strides-2-same"]


def test_a_row_with_a_reason_and_a_link_is_read(tmp_path):
    path = tmp_path / "known.toml"
    path.write_text('["forward/concat"]\nreason = "R."\nlink = "https://example.org"')
    assert read_expected(path, ROWS) == {
        "forward/concat": ExpectedFailure("R.", "https://example.org")
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('["forward/concatt"]\nreason = "R."\nlink = "L"', "'forward/concat'"),
        ('["gradient/pool-3x3"]\nreason = "R."\nlink = "L"', "'gradient/pool-3x3-strides-2-same'"),
        ('["forward/concat"]\nlink = "L"', "reason"),
        ('["forward/concat"]\nreason = "R."', "link"),
        ('["forward/concat"]\nreason = " "\nlink = "L"', "reason"),
        ('["forward/concat"]\nreason = "R."\nlink = "L"\nuntil = 3', "'until'"),
        ('"forward/concat" = "R."', r"\[\"forward/concat\"\]"),
        ("reason =", "TOML"),
        ('[forward/concat]\nreason = "R."', r"\[\"forward/concat\"\]"),
    ],
)
def test_an_invalid_file_is_refused_with_the_row_or_key(tmp_path, text, named):
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=named):
        read_expected(path, ROWS)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        read_expected(tmp_path / "nowhere.toml", ROWS)

"""What may not be passed on is refused by name, and can be allowed by name."""

from __future__ import annotations

import pytest

from proofmill.data.card import check_licenses
from proofmill.data.errors import InputError

FREE = ["mit", "MIT", "apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "odc-by", "bsd-3-clause", "gpl-3.0"]
RESTRICTED = [
    None, "", "unknown", "other", "proprietary", "cc-by-nc-4.0", "CC-BY-NC-SA-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0",
    "CC BY-NC 4.0", "cc_by_nc", "non-commercial", "NonCommercial", "research-only", "NOASSERTION", "none",
    "all rights reserved", "non commercial use only",
]  # fmt: skip


@pytest.mark.parametrize("name", FREE)
def test_free_licences_pass(name: str) -> None:
    check_licenses([name], [])


@pytest.mark.parametrize("name", RESTRICTED)
def test_restrictive_ones_are_refused_until_they_are_allowed(name: str | None) -> None:
    with pytest.raises(InputError) as caught:
        check_licenses(["mit", name], [])
    shown = (name or "unknown").lower()
    assert shown in caught.value.what
    assert f"publish.allow_licenses=[{shown}]" in caught.value.remedy
    check_licenses(["mit", name], [shown.upper()])


def test_all_refused_licences_are_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        check_licenses(["cc-by-nc-4.0", None, "mit"], ["other"])
    assert "cc-by-nc-4.0" in caught.value.remedy
    assert "unknown" in caught.value.remedy
    assert "mit" not in caught.value.what

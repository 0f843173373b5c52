"""Names of what comes while a show plays."""

from __future__ import annotations

import pytest

from instrument.engine.naming import name_like, name_problem


@pytest.mark.parametrize(
    ("like", "taken", "name"),
    [
        ("petals", {"petals"}, "petals2"),
        ("petals7", {"petals", "petals2", "petals7"}, "petals3"),
        ("petals7", {"petals7"}, "petals"),
        ("a" * 64, {"a" * 64}, "a" * 63 + "2"),
        ("a" * 63 + "2", {"a" * 64, "a" * 63 + "2"}, "a" * 63),
        ("a" * 62 + "10", {"a" * 62, *(f"{'a' * 62}{n}" for n in range(2, 11))}, "a" * 62 + "11"),
        ("a" * 64, {"a" * 64, *(f"{'a' * 63}{n}" for n in range(2, 10))}, "a" * 62 + "10"),
    ],
)
def test_a_copys_name_is_free_and_one_that_may_be_given(like: str, taken: set[str], name: str) -> None:
    assert name_like(like, taken) == name
    assert name_problem(name, "bend", taken) == ""

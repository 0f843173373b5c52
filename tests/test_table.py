"""The table of levers: what the README shows is what the declarations say."""

from __future__ import annotations

from pathlib import Path

from pipelines.bends.lever import discover
from pipelines.bends.table import table

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_readme_shows_the_levers_there_are() -> None:
    shown = README.split("<!-- levers -->\n")[1].split("\n<!-- /levers -->")[0]
    assert shown == table(discover().values()), "put the output of `bender levers --markdown` into the README"


def test_every_lever_site_and_amount_is_in_the_table() -> None:
    rows = {row.split("|")[1].strip(" `"): row for row in table(discover().values()).splitlines()[2:]}
    for lever in discover().values():
        row = rows[lever.id.split(".", 1)[1]]
        assert lever.site in row.split("|")[2] and all(f"`{amount}`" in row for amount in lever.amounts)
        assert lever.columns is None or lever.columns in row

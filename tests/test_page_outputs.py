"""Outputs on the page of a real show in a real browser: how they fare, what is recorded, adding and taking away."""

from __future__ import annotations

import re

import av
import pytest
from selenium.webdriver import ActionChains, Keys

from tests.page import Tab, resize, room, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("takes")


@pytest.fixture(scope="module")
def playing(folder):
    with room(out_dir=folder) as made:
        yield made


def rows(page: Tab) -> list[str]:
    return page.js("return [...document.querySelectorAll('.output b')].map((each) => each.innerText)")


def hold(page: Tab, id: str) -> None:
    button = page.find(id)
    page.js("arguments[0].scrollIntoView({block: 'center'})", button)
    ActionChains(page.browser).click_and_hold(button).perform()
    until(lambda: page.attribute(id, "aria-label") is None)
    ActionChains(page.browser).release().perform()


def test_an_output_is_added_and_taken_away(page, playing):
    page.view("engine")
    until(lambda: "the page only" in page.text("#engine"))
    assert not page.all('[data-id="out.add"]'), "once is enough"
    page.find("an output to add").send_keys("dummy", Keys.ENTER)
    until(lambda: rows(page) == ["dummy"])
    until(lambda: "frames sent" in page.text(".output span"))
    until(lambda: page.find("an output to add").get_property("value") == "")
    page.find("remove output dummy").click()  # a slip
    page.find("undo").click()
    until(lambda: playing.value("undo") > 0)
    assert rows(page) == ["dummy"] and playing.value("out.remove") == ""
    hold(page, "remove output dummy")
    until(lambda: rows(page) == [] and "the page only" in page.text("#engine"))
    assert playing.show.status()["outputs"] == []


def test_a_refusal_is_told_and_what_was_written_stays(page, playing):
    page.view("engine")
    box = until(lambda: page.find("an output to add"))
    box.send_keys("stream:udp://10.0.0.1:9", Keys.ENTER)
    until(lambda: "start the show with --live-out any" in page.text(".add-output p"))
    assert box.get_property("value") == "stream:udp://10.0.0.1:9"
    box.clear()


def test_a_recording_is_told_of_in_every_view_and_stopped(page, playing, folder):
    page.view("engine")
    next(button for button in page.all(".add-output button") if button.text == "record").click()
    until(lambda: page.all("#status .recording"))
    (file,) = folder.iterdir()
    assert file.name.startswith("room ") and file.suffix == ".mp4"
    page.view("bends")
    until(lambda: re.search(rf"0:0\d {re.escape(file.name)}", page.text("#status .recording")))
    first = page.text("#status .recording")
    until(lambda: page.text("#status .recording") != first)
    for size in ((390, 844), (667, 375)):
        resize(page.browser, *size)
        playing.show.notices.tell(f"words beside it at {size}")
        until(lambda size=size: f"beside it at {size}" in page.text("#status"))
        end = page.js("return document.querySelector('#status .recording').getBoundingClientRect().right")
        assert 60 < end <= size[0]
    resize(page.browser, 1280, 720)
    page.view("engine")
    until(lambda: rows(page) == [file.name])
    assert "records 0:" in page.text(".output span") and str(file) in page.text(".output span")
    hold(page, f"stop output file:{file}")
    until(lambda: rows(page) == [] and not page.all("#status .recording"))
    with av.open(str(file)) as take:
        assert len(list(take.decode(video=0))) > 1


def test_the_browser_complained_of_nothing(page):
    assert page.complaints() == []

"""Bends and modulators that come and go while a real show plays, from its page in a real browser."""

from __future__ import annotations

from itertools import pairwise

import pytest
from selenium.webdriver import Keys

from tests.page import look_at, pressed, until


def test_bends_come_and_go(page, playing):
    look_at(page, "turn")
    page.js("[...document.querySelectorAll('.quiet')].find((b) => b.textContent === 'add').click()")
    page.find("name of the new bend").send_keys("echo")
    page.js("[...document.querySelectorAll('.lever')].find((b) => b.innerText.startsWith('self.out.gain')).click()")
    until(lambda: "echo.gain" in playing.params)
    until(lambda: page.text(".bend-head h2").startswith("echo"))
    page.js("[...document.querySelectorAll('.quiet')].find((b) => b.textContent === 'duplicate').click()")
    until(lambda: "echo2.gain" in playing.params)
    until(lambda: page.all('.strip[data-bend="echo2"].muted'))
    page.find("echo.solo").click()
    until(lambda: playing.value("echo.solo") is True)
    page.find("echo.on").click()
    until(lambda: playing.value("echo.on") is False)
    look_at(page, "echo2")
    page.js("[...document.querySelectorAll('.quiet')].find((b) => b.textContent === 'remove').click()")
    until(lambda: "echo2.gain" not in playing.params and not page.all('.strip[data-bend="echo2"]'))
    page.find("undo").click()
    until(lambda: page.all('.strip[data-bend="echo2"]'))
    for name in ("echo", "echo2"):
        playing.params.set("bend.remove", name, "osc")
        until(lambda name=name: not page.all(f'.strip[data-bend="{name}"]'))


def test_strips_are_grouped_by_site_and_say_their_place_in_the_patch(page, playing):
    """A bend that comes last in the patch stands beside those of its site."""
    look_at(page, "turn")
    before = [strip.get_attribute("data-bend") for strip in page.all("#bends .strip")]
    playing.params.set("bend.add", "ffn.in.gain late", "osc")
    until(lambda: page.all('.strip[data-bend="late"]'))
    strips = page.all("#bends .strip")
    sites = [strip.get_attribute("data-site") for strip in strips]
    assert len(set(sites)) == 1 + sum(one != other for one, other in pairwise(sites)), "each site is one group"
    names = [strip.get_attribute("data-bend") for strip in strips]
    assert [name for name in names if name != "late"] == before and names[-1] != "late"
    title = page.js("""return document.querySelector('.strip[data-bend="late"] .site').title""")
    assert title == f"ffn.in.gain, bend {len(names)} of the patch"
    playing.params.set("bend.remove", "late", "osc")
    until(lambda: not page.all('.strip[data-bend="late"]'))


def test_the_form_of_a_new_bend_stays_until_it_is_there_or_another_is_looked_at(page, playing):
    look_at(page, "turn")
    pressed(page, "add", "#bends .quiet")
    page.find("name of the new bend").send_keys("colour")
    playing.params.set("bend.add", "ffn.in.gain other", "osc")  # what is being written stays
    until(lambda: page.all('.strip[data-bend="other"]'))
    pressed(page, "self.out.gain", ".lever")
    until(lambda: "the name 'colour' is taken" in page.text("body"))
    assert until(lambda: page.find("name of the new bend")).get_attribute("value") == "colour"
    page.js("""document.querySelector('.strip[data-bend="turn"] .site').click()""")  # the one looked at already
    until(lambda: page.text(".bend-head h2").startswith("turn"))
    assert page.text(".bend-head .quiet") == "add"
    playing.params.set("bend.remove", "other", "osc")
    until(lambda: not page.all('.strip[data-bend="other"]'))


def test_what_moves_by_itself_is_seen_to_move(page, playing):
    page.view("modulators")
    until(lambda: page.text(".bend-head h2").startswith("wave"))
    meter = "return document.querySelector('.meter i').style.transform"
    seen = {page.js(meter)}
    until(lambda: len(seen.add(page.js(meter)) or seen) > 4)
    look_at(page, "colour")
    ghost = """return document.querySelector('[data-id="colour.gain"] .ghost').style.transform"""
    places = {page.js(ghost)}
    until(lambda: len(places.add(page.js(ghost)) or places) > 4)
    playing.params.set("wave.on", False, "osc")
    until(lambda: page.js("""return document.querySelector('[data-id="colour.gain"] .ghost').hidden"""))


def test_modulators_come_and_go(page, playing):
    page.view("modulators")
    until(lambda: page.text(".bend-head h2").startswith("wave"))

    def press(text: str, css: str = "#modulators .quiet") -> None:
        script = "return [...document.querySelectorAll(arguments[0])].find((b) => b.textContent === arguments[1])"
        page.js("arguments[0].click()", until(lambda: page.js(script, css, text)))

    press("add")
    kinds = page.js("return [...document.querySelectorAll('#modulators section h2')].map((h) => h.firstChild.data)")
    assert kinds == ["lfo", "envelope", "hold", "follow", "audio"]
    target = page.find("what the new modulator moves")
    target.clear()
    target.send_keys("loud.gain")
    page.find("name of the new modulator").send_keys("thump")
    page.keys("depth of the new modulator", Keys.HOME, Keys.END, Keys.PAGE_DOWN)
    playing.params.set("modulator.add", "lfo: sine, name: other", "osc")  # what is being written stays
    until(lambda: page.all('.strip[data-modulator="other"]'))
    assert target.get_attribute("value") == "loud.gain"
    page.find("ad: a new envelope").click()
    until(lambda: "thump.depth" in playing.params)
    assert playing.value("thump.to") == "loud.gain" and playing.value("thump.depth") == pytest.approx(0.8)
    until(lambda: page.text(".bend-head h2").startswith("thump"))
    assert page.find("thump.attack") and page.find("thump.by")
    press("duplicate")
    until(lambda: "thump2.on" in playing.params and page.all('.strip[data-modulator="thump2"].muted'))
    press("remove")
    until(lambda: "thump.on" not in playing.params and not page.all('.strip[data-modulator="thump"]'))
    page.find("undo").click()
    until(lambda: page.all('.strip[data-modulator="thump"]') and playing.value("thump.to") == "loud.gain")
    press("add")
    target = page.find("what the new modulator moves")
    target.clear()
    target.send_keys("loud.gian")
    page.find("square: a new lfo").click()
    until(lambda: "did you mean 'loud.gain'?" in page.text("body"))
    assert target.get_attribute("value") == "loud.gian"  # what was written stays, to be put right
    target.clear()
    target.send_keys("loud.gain")
    page.find("square: a new lfo").click()
    until(lambda: page.text(".bend-head h2").startswith("lfo1"))
    assert playing.value("lfo1.to") == "loud.gain"
    playing.params.set("modulator.remove", "lfo1", "osc")
    until(lambda: not page.all('.strip[data-modulator="lfo1"]'))
    for name in ("thump", "thump2", "other"):
        playing.params.set("modulator.remove", name, "osc")
        until(lambda name=name: not page.all(f'.strip[data-modulator="{name}"]'))

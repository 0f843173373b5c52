"""What the player should know, on the page of a real show in a real browser: whole, at every size, without hovering."""

from __future__ import annotations

from selenium.webdriver import ActionChains, Keys

from tests.page import resize, until

SIZES = ((1280, 720), (820, 1180), (390, 844), (375, 667), (667, 375))
REFUSED = (
    "output file:../take-{}.mp4: a file needs a plain name; write for example file:take.mp4, without any folder, "
    "for what comes from elsewhere stays in one place and is never written over what exists already"
)
WHOLE = """
    const item = [...document.querySelectorAll(arguments[0])].find((each) => each.textContent.includes(arguments[1]));
    if (!item?.offsetParent) return false;
    const [box, outer] = [item, item.parentElement].map((each) => each.getBoundingClientRect());
    const cut = item.scrollWidth > item.clientWidth + 1 || item.scrollHeight > item.clientHeight + 1;
    return !cut && box.top >= 0 && box.left >= 0 && box.right <= innerWidth && box.bottom <= outer.bottom + 1;
"""
PLACES = "return [...document.querySelectorAll('#front [data-id]')].map((e) => e.getBoundingClientRect().top)"


def test_news_is_whole_at_every_size_and_moves_no_control(page, playing):
    for size in SIZES:
        resize(page.browser, *size)
        before = page.js(PLACES)
        text = REFUSED.format(size[0])
        playing.show.notices.tell(text)
        until(lambda text=text: page.js(WHOLE, "#news p", text))
        if size[0] >= 1280:  # elsewhere the line at the foot becomes higher with words in it
            assert page.js(PLACES) == before
        below = page.js("return document.querySelector('#status .warning').getBoundingClientRect().bottom")
        assert below <= size[1] and page.js("return document.documentElement.scrollWidth") <= size[0], size
    resize(page.browser, 1280, 720)


def test_a_tap_lists_the_last_of_it(page, playing):
    for size in SIZES:
        resize(page.browser, *size)
        text = f"something to know at {size}"
        playing.show.notices.tell(text)
        until(lambda text=text: text in page.text("#status"))
        line = page.all("#status .warning")[0]
        assert line.size["height"] >= 24
        line.click()
        until(lambda text=text: page.js(WHOLE, "#messages li span:last-child", text))
        assert page.js(WHOLE, "#messages li span:last-child", "a file needs a plain name"), size
        assert page.attribute("Messages", "hidden") is None and line.get_attribute("aria-expanded") == "true"
        ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
        until(lambda: page.attribute("Messages", "hidden") is not None)
    resize(page.browser, 1280, 720)


def test_what_was_can_be_read_when_it_is_no_news_any_more(page, playing):
    until(lambda: not page.all("#news p") and page.text("#status .past") == "earlier")
    page.all("#status .past")[0].click()
    until(lambda: "something to know" in page.text("#messages"))
    page.all("#picture")[0].click()  # beside it
    until(lambda: page.attribute("Messages", "hidden") is not None)


def test_a_mistake_that_is_made_again_is_told_again(page, playing):
    for _ in range(2):
        playing.params.set("out.remove", "nothing", "page 1")
        until(lambda: "there is no such output" in page.text("#news"))
        until(lambda: "there is no such output" not in page.text("#news"))


def test_the_browser_complained_of_nothing(page):
    assert page.complaints() == []

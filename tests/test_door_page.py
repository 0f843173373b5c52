"""Who may touch it, in a real browser: the PIN's page, and a page from elsewhere that tries to drive and to read."""

from __future__ import annotations

import http.server
import threading

import pytest

pytest.importorskip("selenium")
from tests.looking import Stage
from tests.page import chromium

PIN = "274513"
ELSEWHERE = """<!doctype html><title>waiting</title><script>
const target = "%s", tries = [];
const failed = (name) => (what) => [name, "failed"], worked = (name) => (what) => [name, "worked"];
const socket = (path) => new Promise((done) => {
  const ws = new WebSocket(target.replace("http", "ws") + path);
  ws.onopen = () => { ws.send('{"set": [["hidden.gain", 7]], "watch": {"pace": true}}'); done([path, "worked"]); };
  ws.onerror = () => done([path, "failed"]);
});
const picture = new Promise((done) => {
  const image = new Image();
  [image.onload, image.onerror] = [() => done(["picture", "worked"]), () => done(["picture", "failed"])];
  image.src = target + "/icon.svg";
});
const read = (path, how) => fetch(target + path, how).then((answer) => answer.text()).then(
  (text) => [path, text ? "worked" : "failed"], failed(path));
const frame = new Promise((done) => {
  const inner = document.createElement("iframe");
  inner.onload = () => {
    try { done(["frame", inner.contentDocument?.body?.children.length ? "worked" : "failed"]); }
    catch { done(["frame", "failed"]); }
  };
  inner.src = target + "/";
  document.documentElement.append(inner);
});
Promise.all([
  socket("/ws"), socket("/api/inside"), socket("/"), picture, frame,
  read("/api/params"), read("/api/status", {mode: "no-cors"}), read("/?HOST_INFO"),
  read("/pin", {method: "POST", body: new URLSearchParams({pin: "%s"}), credentials: "include"}),
]).then((all) => { document.title = JSON.stringify(Object.fromEntries(all)); });
</script>"""


@pytest.fixture(scope="module")
def stage():
    with chromium() as browser:
        stage = Stage(browser)
        try:
            yield stage
        finally:
            stage.close()


def open_again(stage, pin: str | None) -> None:
    port = stage.surface.port
    stage.surface.close()
    stage.pin = pin
    stage.surface = stage.serve(port)


def linked(stage) -> bool:
    return stage.js("return document.body.classList.contains('linked')")


def test_the_pin_is_asked_for_and_asked_again_when_the_show_began_anew(stage):
    open_again(stage, PIN)
    stage.browser.get(stage.surface.url)
    assert stage.browser.current_url == f"{stage.surface.url}pin"
    box = stage.browser.find_element("id", "pin")
    assert box == stage.browser.switch_to.active_element
    box.send_keys("123456\n")
    stage.until(lambda: "not it" in stage.browser.find_element("id", "problem").text)
    stage.browser.find_element("id", "pin").send_keys(f"{PIN}\n")
    stage.until(lambda: stage.browser.current_url == stage.surface.url and linked(stage))
    picture = "return document.getElementById('picture').width"
    stage.until(lambda: stage.js(picture) == tiny_width(stage))
    stage.show("inside")
    stage.until(lambda: len(stage.all(".thumb")) == 4)
    open_again(stage, PIN)  # sessions have ended with it
    stage.until(lambda: stage.browser.current_url == f"{stage.surface.url}pin")
    stage.browser.find_element("id", "pin").send_keys(f"{PIN}\n")
    stage.until(lambda: stage.browser.current_url == stage.surface.url and linked(stage))


def tiny_width(stage) -> int:
    return stage.engine.stream.recipe.width


@pytest.mark.parametrize(("host", "pin"), [("localhost", None), ("localhost", PIN), ("127.0.0.1", PIN)])
def test_a_page_from_elsewhere_can_neither_drive_nor_read(stage, host, pin):
    """Served on another port: for `localhost` also another site. The browser may have a session."""
    open_again(stage, pin)
    stage.browser.get(stage.surface.url)
    if pin:
        stage.browser.find_element("id", "pin").send_keys(f"{pin}\n")
    stage.until(lambda: linked(stage))
    page = (ELSEWHERE % (stage.surface.url.rstrip("/"), PIN)).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *words: object) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        stage.browser.get(f"http://{host}:{server.server_address[1]}/")
        stage.until(lambda: stage.browser.title != "waiting")
        assert set(stage.js("return Object.values(JSON.parse(document.title))")) == {"failed"}, stage.browser.title
        assert len(stage.js("return Object.keys(JSON.parse(document.title))")) == 9
    finally:
        server.shutdown()
        server.server_close()
    assert stage.params["hidden.gain"].base == 1.0
    assert stage.surface.pages == 0

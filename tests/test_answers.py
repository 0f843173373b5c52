"""What became of a wish that cannot be answered at once: told to whoever made it, over the sockets of a show."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets

from instrument.mapping.rig import Rig
from instrument.osc.codec import Message, decode, encode, encode_bundle
from instrument.osc.send import SendError, send
from instrument.parameters.answers import MOST, Answers, Tell, Words
from instrument.parameters.touch import Touch
from instrument.show import Doors, Show
from instrument.state.patch import loads
from pipelines.recipes import RECIPES, Recipe
from pipelines.systems import System
from tests.oscing import Client, wait_until
from tests.switching import OTHER, PATCH, system
from tests.tiny import RECIPE

PATIENCE = 60.0


def unopened(row: Recipe) -> System:
    raise OSError(f"{row.name}.safetensors is torn")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Patches, of which one is broken and one is for a model that cannot be opened; and a mapping."""
    (tmp_path / "torn.yaml").write_text("model: other\n")
    (tmp_path / "odd.yaml").write_text("bends: [{name: a, lever: ffn.out.gian}]\nmodel: tiny\n")
    (tmp_path / "own.yaml").write_text(
        "bindings: [{cc: 1, to: loud.gain}, {osc: /1/push1, trigger: snapshot.6.recall},"
        " {osc: /1/fader1, to: loud.gain}, {osc: /1/fader2, to: quiet.*}]\n"
    )
    return tmp_path


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Show]:
    monkeypatch.setitem(RECIPES, "tiny", RECIPE)
    monkeypatch.setitem(RECIPES, "other", OTHER)
    show = Show(system(RECIPE), loads(PATCH, name="first"), [], None, 1, unopened)
    show.engine.switch.free = lambda device: 2**40
    show.engine.desk.folder = folder
    rig = Rig(show.params, show.notices.tell, "nobody")
    rig.load(folder / "own.yaml")
    show.start(Doors(osc_port=0, page_port=0, mdns=False, out_dir=folder), rig)
    try:
        yield show
    finally:
        show.close()


def port(show: Show) -> int:
    return int(show.facts()["osc"].rpartition(":")[2])


@pytest.fixture
def client(show: Show) -> Iterator[Client]:
    client = Client(port(show))
    client.socket.settimeout(PATIENCE)
    yield client
    client.close()


def error(message: Message) -> str:
    assert message.address == "/error", message
    return message.args[0]


WISHES = [
    ("/patch/load", ("nosuch",), "no such patch"),
    ("/patch/load", ("odd",), "did you mean 'ffn.out.gain'?"),
    ("/patch/load", ("torn",), "other 64x48 cannot be played (OSError: other.safetensors is torn)"),
    ("/patch/goto", (5,), "patch.goto 5: the set list has 0"),
    ("/patch/next", (), "there is no other patch in the set list"),
    ("/mapping/load", ("nosuch",), "no such mapping"),
    ("/mapping/page", (9,), "no mapping that plays has so many pages"),
    ("/learn/to", ("loud.gian",), "did you mean 'loud.gain'?"),
    ("/engine/model", ("huose",), "did you mean 'house'?"),
    ("/engine/model", ("other",), "OSError: other.safetensors is torn"),
    ("/engine/size", ("big",), "engine.size cannot be 'big'; write for example 384x224"),
    ("/out/add", ("camra",), "did you mean 'camera'?"),
    ("/out/remove", ("dummy",), "dummy"),
    ("/snapshot/goto", (9,), "snapshot 9 is empty; store it first"),
    ("/snapshot/5/recall", (), "snapshot 5 is empty; store it first"),
    ("/morph/corners", ("1 2",), "morph.corners cannot be '1 2'; write four numbers"),
    ("/undo", (), "nothing to undo"),
    ("/redo", (), "nothing to redo"),
    ("/learn/undo", (), "nothing was learnt since the start"),
    ("/learn/forget", ("loud.gian",), "own.yaml binds nothing to loud.gian"),
    ("/1/push1", (1.0,), "snapshot 6 is empty; store it first"),
    ("/prompt/next", (), "give it a prompt_list"),
    ("/1/fader1", ("x",), "osc /1/fader1 does nothing: loud.gain cannot be 'x'; send a number from 0 to 8"),
    ("/1/fader2", (0.5,), "osc /1/fader2 does nothing: no parameter matches 'quiet.*'"),
]


def test_every_wish_that_fails_later_is_answered_to_who_made_it_and_to_nobody_else(show: Show, client: Client) -> None:
    other = Client(port(show))
    other.send("/bender/ping")
    assert other.answer().address == "/bender/pong"
    for address, args, words in WISHES:
        client.send(address, *args)
        assert words in (text := error(client.answer())), (address, text)
        assert wait_until(lambda text=text: any(text in told for _, told in show.notices._recent)), "the player too"
    other.send("/bender/ping")
    assert other.answer().address == "/bender/pong", "nothing else has come"
    other.close()


def test_saving_without_a_folder_and_reloading_a_broken_mapping(show: Show, client: Client, folder: Path) -> None:
    show.engine.desk.folder = None
    client.send("/patch/save")
    assert "there is no folder to save into" in error(client.answer())
    (folder / "own.yaml").write_text("bindings: [{cc: 1, to: loud.gain, curve: bent}]\n")
    client.send("/mapping/reload")
    assert "the mapping as it was plays on" in error(client.answer())
    (folder / "own.yaml").write_text("bindings: [{cc: 1, to: loud.gian}]\n")
    client.send("/mapping/reload")
    address, [words] = client.answer()
    assert address == "/notice", "it was read all the same"
    assert "own.yaml:1: cc 1: no parameter 'loud.gian'; did you mean 'loud.gain'?" in words
    (folder / "own.yaml").unlink()
    client.send("/mapping/reload")
    assert "no such mapping" in error(client.answer())
    show.engine.desk.folder = folder
    client.send("/patch/save")
    assert client.answer() == ("/notice", (f"saved {folder / 'first.yaml'}",))


def test_learning_answers_when_what_was_touched_cannot_be_learnt(show: Show, client: Client, folder: Path) -> None:
    client.send("/learn/to", "loud.gain")
    assert wait_until(lambda: show._rig.learner.armed == "loud.gain", PATIENCE)
    (folder / "own.yaml").write_text("bindings: {")
    for value in range(0, 127, 3):
        show._rig.handle(Touch("cc", 20, value, 1), "midi:box")
    assert "loud.gain: " in error(client.answer())


def test_what_fails_while_it_is_carried_out(show: Show, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **more: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(show.engine.stream, "make_bank", refuse)
    client.send("/bend/add", "ffn.in.gain")
    assert "the bends stay as they are (MemoryError: no room)" in error(client.answer())
    client.send("/modulator/add", "lfo: sine, to: loud.gain, name: wave")
    assert wait_until(lambda: "wave.depth" in show.params, PATIENCE)
    client.socket.send(encode_bundle([encode("/modulator/remove", "wave")] * 2))
    assert "no modulator 'wave'" in error(client.answer()), "the first of two has taken it away"
    monkeypatch.setattr(show.engine.prompts._encodings.encoder, "encode", refuse)
    client.send("/prompt/2/text", "a green moon")
    assert "the prompt 'a green moon' cannot be encoded (MemoryError: no room)" in error(client.answer())


def test_who_is_overtaken_while_the_clock_is_waited_for(show: Show, client: Client, folder: Path) -> None:
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(f"model: tiny\nprompt: {name}\n")
    show.params.set("clock.tempo", 20)
    show.params.set("clock.bar", 16)
    show.params.set("clock.quantise", "bar")
    waiting = show.engine.console
    for address, first, then in [("/patch/load", "one", "two"), ("/snapshot/goto", 3, 4), ("/prompt/goto", 5, 6)]:
        before = len(waiting._waiting)
        client.send(address, first)
        assert wait_until(lambda before=before: len(waiting._waiting) > before, PATIENCE), address
        client.send(address, then)
        id = address[1:].replace("/", ".").replace("snapshot.goto", "snapshot")
        assert error(client.answer()) == f"{id} {first}: overtaken by {id} {then}"
    show.engine.params.set("clock.quantise", "off")
    client.send("/patch/load", "one")
    assert error(client.answer()) == "patch.load two: overtaken by patch.load one", "what waited does not come after it"
    assert {error(client.answer()) for _ in range(2)} == {
        "snapshot 4: overtaken by another patch",
        "prompt.goto 6: overtaken by another patch",
    }


def test_who_is_overtaken_while_another_model_is_loaded(show: Show, client: Client) -> None:
    begun, gate = threading.Semaphore(0), threading.Event()

    def slowly(row: Recipe) -> System:
        begun.release()
        gate.wait(PATIENCE)
        return unopened(row)

    show.engine.switch.open_system = slowly
    other = Client(port(show))
    try:
        client.send("/engine/model", "other")
        assert begun.acquire(timeout=PATIENCE)
        other.send("/patch/load", "torn")
        assert error(client.answer()) == "engine.model other: overtaken by patch.load torn"
        client.send("/engine/size", "128x96")
        other.socket.settimeout(PATIENCE)
        assert error(other.answer()) == "patch.load torn: overtaken by engine.size 128x96"
    finally:
        gate.set()
        other.close()
    assert wait_until(lambda: show.system.recipe.width == 128, PATIENCE), "the last wish counts"


def test_who_is_overtaken_by_another_to_be_learnt(show: Show, client: Client) -> None:
    client.send("/learn/to", "loud.gain")
    assert wait_until(lambda: show._rig.learner.armed == "loud.gain", PATIENCE)
    client.send("/learn/to", "words.gain")
    assert error(client.answer()) == "learn.to loud.gain: overtaken by learn.to words.gain"


def test_over_tcp_and_a_websocket_too(show: Show) -> None:
    with socket.create_connection(("127.0.0.1", port(show)), PATIENCE) as stream:
        packet = encode("/undo")
        stream.sendall(len(packet).to_bytes(4, "big") + packet)
        size = int.from_bytes(stream.recv(4, socket.MSG_WAITALL), "big")
        [bundle] = decode(stream.recv(size, socket.MSG_WAITALL))
        assert error(bundle.messages[0]) == "nothing to undo"

    async def wish() -> str:
        async with websockets.connect(show.surface.url.replace("http", "ws")) as ws:
            await ws.send(encode("/snapshot/7/recall"))
            while not isinstance(heard := await asyncio.wait_for(ws.recv(), PATIENCE), bytes):
                continue
            return error(decode(heard)[0].messages[0])

    assert asyncio.run(wish()) == "snapshot 7 is empty; store it first"


def test_the_shell_is_told_too(show: Show) -> None:
    place = "127.0.0.1", port(show)
    with pytest.raises(SendError, match=r"no such patch in .*; "):
        send("patch.load", ["nosuch"], place, PATIENCE)
    with pytest.raises(SendError, match="nothing to undo"):
        send("undo", [], place, PATIENCE)


def test_the_same_words_come_once_a_second(show: Show, client: Client) -> None:
    for _ in range(50):
        client.send("/undo")
    client.send("/redo")
    heard = [error(client.answer())]
    while heard[-1] != "nothing to redo":
        heard.append(error(client.answer()))
    assert 1 <= heard.count("nothing to undo") < 10


def test_answers_are_kept_up_to_a_bound_and_fetched_once_by_each_door() -> None:
    answers, told = Answers(), []
    tell = Tell(told.append, answers)
    tell("for the player alone")
    assert answers.since(0) == (0, []) and told == ["for the player alone"]
    for number in range(MOST + 10):
        tell(str(number), "osc:a")
    count, words = answers.since(0)
    assert len(words) == MOST and words[-1] == Words("osc:a", str(MOST + 9)) and len(told) == MOST + 11
    tell("late", "osc:b")
    assert answers.since(count) == (count + 1, [Words("osc:b", "late")])
    tell.notice("odd", "osc:b")
    assert answers.since(count + 1) == (count + 2, [Words("osc:b", "odd", refused=False)])
    assert answers.since(count + 2) == (count + 2, [])


def test_answers_from_many_threads_all_arrive_in_each_ones_order() -> None:
    answers = Answers()
    threads = [
        threading.Thread(target=lambda name=name: [answers.put(name, str(n)) for n in range(MOST // 4)])
        for name in "abcd"
    ]
    found: list[tuple[str, str]] = []
    count = 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        count, words = answers.since(count)
        found += words
    found += answers.since(count)[1]
    for name in "abcd":
        assert [text for origin, text, _ in found if origin == name] == [str(n) for n in range(MOST // 4)]

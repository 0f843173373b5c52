"""What each command of `bender` does; a row in COMMANDS each, but `send` and `get`, which need none of what is imported
here. Parsing is in `__main__`, opening things in `setup`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from instrument.engine.curtain import Curtain
from instrument.engine.engine import Engine
from instrument.engine.events import Events, Watch
from instrument.engine.metrics import Endpoint
from instrument.engine.status import Notices, StatusLine
from instrument.engine.stopping import at_most, leave, until_stopped
from instrument.engine.threads import model_threads
from instrument.listing import list_everything, list_levers, list_models, list_params, params_of
from instrument.mapping import learn as learning
from instrument.mapping import mapping as mappings
from instrument.mapping.live import Mapping
from instrument.mapping.ownfile import forget, own_path
from instrument.mapping.rig import Rig
from instrument.mapping.sheet import draw_sheet
from instrument.measuring import bench, gallery, study
from instrument.modulation.audioin import open_ear
from instrument.parameters.params import ParamSet
from instrument.setup import (
    UsageError,
    cannot_write,
    named,
    open_mappings,
    open_model,
    open_outputs,
    open_patch,
    opener,
    set_first_values,
    wanted_recipe,
)
from instrument.show import Doors, Show, watch
from instrument.state import patch as patches
from instrument.state.autosave import left
from instrument.state.patch import Patch
from pipelines import fetch as fetching
from pipelines.bends.hooks import thrown_by_lever
from pipelines.bends.lever import LeverError, mistakes
from pipelines.files import with_decoder
from pipelines.quicken import make_stream
from pipelines.recipes import Recipe, recipe
from pipelines.systems import System


def play(options: argparse.Namespace) -> None:
    """Play live until Ctrl-C, SIGTERM or the time given."""
    began = time.monotonic()
    patch = open_patch(options)
    chosen, of_mappings = open_mappings(options)
    made = open_outputs(options.out)
    songs = [patch, *(patches.load(named(name), options.patches_dir) for name in options.setlist)]
    open_system, row = opener(options), wanted_recipe(options, patch)
    # no name here for the first system, which would keep it when another one plays
    show = Show(open_system(row), patch, made, options.fps, model_threads(options.threads), open_system)
    show.pacer.fade = options.fade
    show.engine.sound_check(songs)
    show.engine.desk.folder, show.engine.desk.autosave.every = options.patches_dir, options.autosave
    for words in filter(None, [left(options.patches_dir, patch), *of_mappings]):
        show.notices.tell(words)
    for mistake in mistakes():
        show.notices.tell(f"left out: {mistake}")
    if options.video:
        show.engine.watch(options.video)
    rig = Rig(show.params, show.notices.tell, options.midi, own_path(options.mappings_dir))
    for which in chosen:
        rig.load(which, options.mappings_dir)
    set_first_values(show.params, options.set)
    line = StatusLine(show.status, show.notices, options.json)
    with ExitStack() as around:
        stopping = around.enter_context(until_stopped())
        around.enter_context(_logged(show.notices, options.log))
        around.enter_context(_hearing(options, show.engine))
        events = around.enter_context(_noted(options.log_json, show.notices))
        around.callback(line.close)
        around.callback(_close, show)
        show.start(_doors(options), rig)
        around.enter_context(_measured(options, show))
        facts = {**show.facts(), "started in": f"{time.monotonic() - began:.1f} s"}
        line.sheet(facts)
        events("start", **facts)
        eye = Watch(events)
        watch(line, stopping, options.seconds, lambda: eye.look(show.status()))
        eye.look(show.status())
        events("stop", played=show.engine.timing.chunks)
    if show.busy:
        leave()


def _close(show: Show) -> None:
    with at_most():
        show.close()


def _doors(options: argparse.Namespace) -> Doors:
    return Doors(
        options.host,
        options.osc_port,
        None if options.no_page else options.page_port,
        tuple(options.osc_out),
        not options.no_mdns,
        options.live_out,
        options.out_dir,
        options.pin,
    )


@contextmanager
def _noted(where: str | None, notices: Notices) -> Iterator[Callable[..., None]]:
    """Where events go: the file asked for, or nowhere."""
    if where is None:
        yield lambda event, **facts: None
        return
    try:
        events = Events(where, notices.tell)
    except OSError as problem:
        raise cannot_write("--log-json", where, problem) from None
    notices.also = lambda text: events("notice", text=text)
    try:
        yield events
    finally:
        notices.also = lambda text: None
        events.close()


@contextmanager
def _measured(options: argparse.Namespace, show: Show) -> Iterator[None]:
    """The numbers for Prometheus, where they are asked for."""
    if options.metrics_port is None:
        yield
        return
    endpoint = Endpoint(options.host, options.metrics_port, show.status)
    show.notices.tell(f"metrics at http://{options.host}:{endpoint.port}/metrics")
    try:
        yield
    finally:
        endpoint.close()


@contextmanager
def _hearing(options: argparse.Namespace, engine: Engine) -> Iterator[None]:
    """The audio input asked for, if any, as long as it is needed."""
    if options.audio is None:
        yield
        return
    ear = open_ear(options.audio)
    engine.console.rack.ear = ear
    try:
        yield
    finally:
        ear.close()


@contextmanager
def _logged(notices: Notices, path: Path | None) -> Iterator[None]:
    """Warnings of every part as one-line notices, so that none tears the status line; in full in the file."""
    root = logging.getLogger()
    handlers: list[logging.Handler] = [notices]
    if path is not None:
        try:
            handlers.append(logging.FileHandler(path, encoding="utf-8"))
        except OSError as problem:
            raise cannot_write("--log", path, problem) from None
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


MOST_DROPPED = 8  # chunks in a row without a picture before a render gives up


def render(options: argparse.Namespace) -> None:
    """The same engine without a clock: every frame is kept."""
    patch = open_patch(options)
    made = open_outputs(options.out, overwrite=True)
    system = open_model(options, patch, live=False)
    rate, total = system.recipe.fps, max(1, round(options.seconds * system.recipe.fps))
    waiting: deque[np.ndarray] = deque()  # decoded in another thread, written in this one
    engine = _offline(options, system, patch, waiting)
    with _hearing(options, engine), ExitStack() as opened:
        opened.callback(engine.video.close)
        for output in made:
            opened.callback(output.close)
            output.open(system.recipe.width, system.recipe.height, rate)
        for frame in islice(_frames(engine, waiting), total):
            for output in made:
                output.send(frame)
    for notice in engine.notices:
        print(f"! {notice}")
    print(f"{total} frames, {total / rate:.1f} s at {rate:g} fps: {', '.join(options.out)}")


def _offline(options: argparse.Namespace, system: System, patch: Patch, waiting: deque[np.ndarray]) -> Engine:
    """An engine whose time is the picture's, and whose frames wait there."""
    params = ParamSet()
    curtain = Curtain(params)
    engine = Engine(
        make_stream(system, patch.seed),
        system.encoder,
        params,
        lambda frame, stamp: waiting.append(curtain(frame)),
        threads=model_threads(options.threads),
    )
    engine.keep_picture_time(system.recipe.fps)
    engine.load(patch)
    if options.video:
        engine.watch(options.video)
    set_first_values(params, options.set)
    return engine


def _frames(engine: Engine, waiting: deque[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames without end, as they are made. UsageError where no more pictures come, LeverError where a lever throws."""
    dropped = 0
    while True:
        try:
            engine.play_chunk()
        except Exception as error:
            if thrown := thrown_by_lever(error):
                raise LeverError(f"lever '{thrown.lever}' cannot be played: {thrown.text}") from error
            raise
        notice = engine.stream.notice
        dropped = dropped + 1 if notice else 0
        if dropped > MOST_DROPPED:
            raise UsageError(f"the model gives no picture ({notice}); take bends back toward neutral")
        while waiting:
            yield waiting.popleft()


def fetch(options: argparse.Namespace) -> None:
    """A model's files from the hub: what is missing, or broke off; `--check` also compares what is here."""
    row = with_decoder(recipe(options.model), options.decoder) if options.decoder else recipe(options.model)
    if row.parts == "own":
        print(f"{row.name} ships with the instrument; there is nothing to fetch")
        return
    hub = fetching.Hub(options.models_dir)
    items = fetching.plan(row, hub, options.models_dir, options.check)
    if not items:
        print(f"{row.name}: everything is here{' and as the hub has it' if options.check else ''}")
        return
    print(f"{row.name}: {row.licence}")
    for item in items:
        print(f"  {fetching.told_size(item.size):>9}  {item.name}")
    print(f"{fetching.told_size(fetching.make_room(items, hub))} to come, to {hub.folder}", flush=True)
    if row.restricted and not options.yes:
        _agree(row)
    try:
        fetching.fetch(items, hub, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print("stopped; what has come is kept, the same command goes on from there", file=sys.stderr)
        raise
    print(f"play it with: bender play --model {row.name}")


def _agree(row: Recipe) -> None:
    """Ask whether a licence that forbids something will do; UsageError where it will not, or nobody can answer."""
    if not sys.stdin.isatty():
        raise UsageError(f"{row.name} is {row.licence}; say --yes if that will do")
    if input(f"{row.licence}; will that do? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError(f"{row.name} was not fetched, because of its licence")


def mapping(options: argparse.Namespace) -> None:
    """Check a mapping against a patch, or draw its controller."""
    file = mappings.load(named(options.mapping), options.mappings_dir)
    if options.action == "check":
        playing = Mapping(file, params_of(open_patch(options)))
        problems = [*playing.problems().values()]
        if problems:
            raise UsageError("; ".join([*problems[:8], *([f"and {len(problems) - 8} more"] if problems[8:] else [])]))
        beyond = len(playing.beyond())
        rest = f", but for {beyond} at bends beyond the last" if beyond else ""
        print(
            f"{options.mapping}: {len(file.bindings)} lines, {len(file.bound)} bindings, all of {options.patch}{rest}"
        )
    elif options.out is None:
        print(draw_sheet(file, options.mapping))
    else:
        try:
            options.out.write_text(draw_sheet(file, options.mapping), encoding="utf-8")
        except OSError as problem:
            raise cannot_write("--out", options.out, problem) from None


def learn(options: argparse.Namespace) -> None:
    """Bind the next control that is touched to a parameter, in a mapping file; or forget what moves it."""
    if options.forget:
        print(f"{forget(options.mapping, options.target).words}, in {options.mapping}")
        return
    params = params_of(open_patch(options))
    learning.check_target(options.target, params)
    print(f"touch a control for {options.target} ...", flush=True)
    print(learning.learn_from_port(options.mapping, options.target, options.midi, options.timeout, params))


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "play": play,
    "render": render,
    "list": list_everything,
    "models": list_models,
    "fetch": fetch,
    "levers": list_levers,
    "params": list_params,
    "mapping": mapping,
    "learn": learn,
    "bench": bench,
    "study": study,
    "gallery": gallery,
}

"""The command line: `bender play`, `render`, `send`, `get`, `list`, `models`, `fetch`, `levers`, `params`, `mapping`,
`learn`, `bench`, `study`, `gallery`, `doctor`.

Parses arguments and hands over; the rest is imported once the words make sense.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from instrument import typed
from instrument.osc import PORT as OSC_PORT
from instrument.osc.send import WAIT
from instrument.parameters.params import suggest
from instrument.state import AUTOSAVE_EVERY
from instrument.surface import PORT as PAGE_PORT
from pipelines.refusal import Refusal

COMMANDS = (
    *("play", "render", "send", "get", "list", "models", "fetch", "levers", "params", "mapping", "learn", "bench"),
    *("study", "gallery", "doctor"),
)
DEFAULT_PATCH = "citylights"


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for what the caller can put right, 1 for what `doctor` finds."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        print(f"bender: no command '{arguments[0]}'; {suggest(arguments[0], COMMANDS)}", file=sys.stderr)
        return 2
    options = _parser().parse_args(arguments)
    if options.command == "play":
        options.patch, *more = options.patch or [DEFAULT_PATCH]
        options.setlist = [*more, *options.setlist]
    # Before torch loads its thread pool: threads that spin long while they wait bring the model to a standstill (fifty
    # times slower, measured) as soon as another program, a browser say, wants one of the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        return _run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output, `head` say, has seen enough
        return 0
    finally:
        _flush()


def _run(options: argparse.Namespace) -> int:
    try:
        if options.command in ("send", "get"):
            return _ask(options)
        if options.command == "doctor":  # before anything is imported that may be what is missing
            from instrument.doctor import doctor

            return doctor(options)
        from instrument.commands import COMMANDS as ACTIONS

        _fit_threads(options)
        ACTIONS[options.command](options)
        return 0
    except Refusal as problem:
        print(f"bender: {' '.join(str(problem).split())}", file=sys.stderr)
        return 2


def _fit_threads(options: argparse.Namespace) -> None:
    """No more threads than there are cores; said once."""
    if "threads" in options and options.threads:
        from instrument.engine.threads import cores, fitting_threads

        options.threads, words = fitting_threads(options.threads, cores())
        if words:
            print(f"bender: {words}", file=sys.stderr)


def _ask(options: argparse.Namespace) -> int:
    """Talk to the show that plays: at once, without loading what plays."""
    from instrument.osc.send import get, send

    place = options.host, options.osc_port
    if options.command == "send":
        taken, notices = send(options.id, options.values, place, options.wait)
        for line in taken:
            print(f"taken as: {line}")
        for line in notices:
            print(f"bender: {line}", file=sys.stderr)
    else:
        print("\n".join(get(options.id, place)))
    return 0


def _flush() -> None:
    """Print what waits; into nothing where nobody reads any more, so that leaving does not stumble over it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Refuses in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="bender", description="Play the inside of a video diffusion transformer.")
    parser.set_defaults(prompt=None, seed=None)  # where a command has no such words, the patch's are played
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _play(commands.add_parser("play", help="play live until Ctrl-C"))
    _render(commands.add_parser("render", help="the same engine, offline, into a file"))
    _send(commands.add_parser("send", help="set, fire or flip a parameter of the show that plays"))
    _get(commands.add_parser("get", help="what a parameter of the show that plays is now"))
    commands.add_parser("list", help="models, patches, mappings, MIDI ports, outputs")
    models = commands.add_parser("models", help="what each model is made of, what is missing and what gets it")
    _models_dir(models)
    _fetch(commands.add_parser("fetch", help="get a model's files from the hub, or the rest of them"))
    levers = commands.add_parser("levers", help="the table of levers")
    levers.add_argument("--markdown", action="store_true", help="as the README shows it")
    params = commands.add_parser("params", help="every parameter of a patch, with range and unit")
    _what(params)
    _mapping(commands.add_parser("mapping", help="check a mapping, or draw its controller with what everything does"))
    learn = commands.add_parser("learn", help="bind a control you touch to a parameter you name")
    learn.add_argument("target", help="parameter id, or a trigger such as panic")
    learn.add_argument("--mapping", type=Path, default=Path("my.yaml"), help="file to write to (default: %(default)s)")
    learn.add_argument("--forget", action="store_true", help="take what moves it out of the file instead")
    _what(learn)
    learn.add_argument("--midi", default="*", help="name pattern of the MIDI port to listen to (default: any)")
    learn.add_argument(
        "--timeout", type=typed.seconds, default=30.0, help="seconds to wait for a touch (default: %(default)g)"
    )
    _doctor(commands.add_parser("doctor", help="whether this computer can play, and what to do where it cannot"))
    _bench(commands.add_parser("bench", help="what a chunk costs, unbent and bent, as ratios; or what else there is"))
    _study(commands.add_parser("study", help="what knobs do to the house model's pictures, as numbers and charts"))
    gallery = commands.add_parser(
        "gallery", help="prompts x bends as contact sheets, with a page that says what each is"
    )
    _where(gallery)
    gallery.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page (default: %(default)s)")
    return parser


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=("chunk", "bends", "control", "gpu", "latency", "looks", "page", "soak"),
        default="chunk",
        help="default: %(default)s",
    )
    _what(parser)
    _where(parser)
    parser.add_argument(
        "--chunks", type=typed.count, help="counted chunks of each kind (default: 40), or those of a soak"
    )
    parser.add_argument(
        "--minutes", type=typed.seconds, default=10.0, help="`bench soak` without --chunks (default: 10)"
    )
    parser.add_argument("--seed", type=int, help="instead of the patch's; of a soak: what is done, and when")
    parser.add_argument("--each", action="store_true", help="`bench bends`: every lever alone, too")
    parser.add_argument(
        "--random", metavar="SHAPE", help="`bench bends`, `bench gpu`: random weights of this shape: 1.3b, 14b"
    )
    parser.add_argument("--compile", action="store_true", help="`bench bends`: compiled, and recorded on a GPU")
    parser.add_argument("--generate", action="store_true", help="`bench page`: the patch plays beside it")
    parser.add_argument(
        "--seconds",
        type=typed.seconds,
        default=10.0,
        help="of `bench latency`, `bench page` and each row of `bench control` (default: %(default)g)",
    )


def _study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=("fig3", "fig4", "geometry", "response", "all"), help="the study, or all of them"
    )
    parser.add_argument(
        "--n", type=typed.count, default=64, help="held-back captions, two at least (default: %(default)s)"
    )
    parser.add_argument("--seed", type=typed.count, default=1, help="of captions and noise (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--weights", type=Path, help="a weights file of the house model instead of the one that ships")
    parser.add_argument(
        "--out", type=Path, default=Path("out/study"), help="folder of tables and pictures (default: %(default)s)"
    )
    parser.add_argument("--charts", action="store_true", help="only draw again what is in the folder")
    parser.add_argument("--threads", type=typed.count, help="CPU threads (default: all cores but one)")


def _send(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help="a parameter's id, such as petals.gain, or an OSC address")
    parser.add_argument("values", nargs="*", help="its value; two for a range; none for a trigger or to flip a switch")
    _door(parser)
    text = "seconds to wait for what the show finds out later, that there is no such patch, say (default: %(default)g)"
    parser.add_argument("--wait", type=typed.waiting, default=WAIT, help=text)


def _get(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help="a parameter's id, or a pattern such as '*.gain'; '*' is all")
    _door(parser)


def _door(parser: argparse.ArgumentParser) -> None:
    _osc(parser, "where the show plays", "its port of OSC")


def _osc(parser: argparse.ArgumentParser, host: str, port: str) -> None:
    parser.add_argument("--host", default="127.0.0.1", help=f"{host} (default: %(default)s)")
    parser.add_argument("--osc-port", type=typed.port, default=OSC_PORT, help=f"{port} (default: %(default)s)")


def _page(parser: argparse.ArgumentParser, port: str) -> None:
    parser.add_argument("--page-port", type=typed.port, default=PAGE_PORT, help=f"{port} (default: %(default)s)")


def _fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a model's name")
    _models_dir(parser)
    _decoder(parser)
    parser.add_argument("--check", action="store_true", help="also compare what is here with the hub's checksums")
    parser.add_argument("--yes", action="store_true", help="accept a licence that forbids commercial use, unasked")


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="findings as JSON, for machines")
    _osc(parser, "address of OSC and page", "port of OSC to try")
    _page(parser, "port of the page to try")
    parser.add_argument("--out-dir", type=Path, default=Path(), help="folder of recordings (default: .)")
    parser.add_argument("--patches-dir", type=Path, help="your own folder of patches")
    _models_dir(parser)


def _mapping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check", "show"), help="check it, or draw it as SVG")
    parser.add_argument("mapping", help="a mapping's name or file")
    parser.add_argument("--mappings-dir", type=Path, help="your own folder of mappings")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to draw it (default: to the terminal)")
    parser.add_argument("--patch", default="all-levers", help="the patch it should play (default: %(default)s)")
    parser.add_argument("--patches-dir", type=Path, help="your own folder of patches")


def _what(parser: argparse.ArgumentParser, several: bool = False) -> None:
    if several:
        text = f"a patch's name or file; several make a set list (default: {DEFAULT_PATCH})"
        parser.add_argument("--patch", action="append", help=text)
    else:
        parser.add_argument("--patch", default=DEFAULT_PATCH, help="a patch's name or file (default: %(default)s)")
    parser.add_argument("--patches-dir", type=Path, help="your own folder of patches")


def _models_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models-dir", type=Path, help="your folder of models' files (default: models)")


def _decoder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--decoder", help="taehv (small and fast) or wan (default: the model's)")


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a model's name (default: the patch's)")
    parser.add_argument("--weights", type=Path, help="a weights file instead of the model's own")
    _models_dir(parser)
    _decoder(parser)
    parser.add_argument("--size", type=typed.size, metavar="WxH", help="multiples of 16 (default: the model's)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument(
        "--quantize", default="", metavar="KIND", help="fp8: eight-bit linear layers, on cards that multiply them"
    )
    parser.add_argument(
        "--offload",
        type=typed.none_or_more,
        nargs="?",
        const=0,
        metavar="STAY",
        help="blocks in main memory, streamed to a small card as they are needed; so many stay on it (default: none)",
    )
    parser.add_argument(
        "--text-encoder",
        default="auto",
        metavar="WHERE",
        help="device, cpu, or drop: on the CPU and dropped after each new prompt (default: by what there is room for)",
    )
    parser.add_argument("--threads", type=typed.count, help="CPU threads of the model (default: all cores but one)")
    parser.add_argument("--plain", action="store_true", help="the model as it is: not compiled, recorded or rounded")


def _scene(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", help="instead of the patch's prompt")
    parser.add_argument("--seed", type=int, help="instead of the patch's seed")
    parser.add_argument("--audio", metavar="INPUT", help="sound for modulators: a file, a device's name, or default")
    parser.add_argument(
        "--in", dest="video", metavar="VIDEO", help="pictures to start from: a file, camera:0 or an address"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="ID=VALUE",
        help="a parameter's first value; of a range both ends, 4,11",
    )


def _play(parser: argparse.ArgumentParser) -> None:
    _what(parser, several=True)
    _where(parser)
    _scene(parser)
    parser.add_argument(
        "--setlist", nargs="+", default=[], metavar="PATCH", help="more patches, as further --patch: patch.next, ..."
    )
    parser.add_argument(
        "--mapping",
        action="append",
        help="a mapping's name or file, or a file to begin; several for several controllers (default: my.yaml, if it is"
        " there, else default)",
    )
    parser.add_argument("--mappings-dir", type=Path, help="your own folder of mappings")
    parser.add_argument(
        "--out", action="append", default=[], metavar="OUTPUT", help="camera, file:clip.mp4, ...; several may be given"
    )
    parser.add_argument(
        "--live-out",
        choices=("off", "local", "any"),
        default="local",
        help="outputs that OSC and the page may add: none, those on this computer (default), or streams too",
    )
    parser.add_argument(
        "--out-dir", type=typed.folder, default=Path(), help="where files go that are added so (default: .)"
    )
    text = (
        "seconds after which, as at the end, what has changed is kept in --patches-dir (default: %(default)g; 0: never)"
    )
    parser.add_argument("--autosave", type=typed.waiting, default=AUTOSAVE_EVERY, metavar="SECONDS", help=text)
    parser.add_argument("--fps", type=typed.rate, help="a fixed output rate (default: what the engine sustains)")
    parser.add_argument("--fade", action="store_true", help="with a rate above the engine's, cross-fade between frames")
    _doors(parser)
    parser.add_argument("--seconds", type=typed.seconds, help="stop after so long")
    parser.add_argument("--json", action="store_true", help="status as JSON lines, for machines")
    parser.add_argument("--log-json", metavar="FILE", help="write events there as JSON lines; - is standard output")
    parser.add_argument("--metrics-port", type=typed.port, help="serve numbers for Prometheus there (extra: metrics)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write warnings and faults there in full")


def _doors(parser: argparse.ArgumentParser) -> None:
    _osc(parser, "address of OSC and page", "UDP and TCP port of OSC")
    parser.add_argument(
        "--osc-out",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="tell a program every change, or `sender` for everybody who sends; several may be given",
    )
    parser.add_argument("--no-mdns", action="store_true", help="do not announce OSC and OSCQuery on the network")
    _page(parser, "port of the page")
    parser.add_argument(
        "--pin", type=typed.pin, help="asked for by the page (default: a new one where --host opens it)"
    )
    parser.add_argument("--no-page", action="store_true", help="do not serve the page")
    parser.add_argument("--midi", default=None, help="name pattern of MIDI ports (default: the mappings' own)")


def _render(parser: argparse.ArgumentParser) -> None:
    _what(parser)
    _where(parser)
    _scene(parser)
    parser.add_argument("--out", required=True, action="append", metavar="OUTPUT", help="a file, or any output")
    parser.add_argument("--seconds", type=typed.seconds, default=10.0, help="length of the clip (default: %(default)g)")


if __name__ == "__main__":
    sys.exit(main())

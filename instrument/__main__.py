"""The command line: `bender play`, `render`, `list`, `models`, `levers`, `params`, `mapping`, `learn`, `bench`,
`study`, `gallery`.

Parses arguments and hands over; the rest is imported once the words make sense.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import NoReturn

from instrument.parameters.params import suggest

COMMANDS = ("play", "render", "list", "models", "levers", "params", "mapping", "learn", "bench", "study", "gallery")
LARGEST = 4096  # pixels a side


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 for what the caller can put right."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        print(f"bender: no command '{arguments[0]}'; {suggest(arguments[0], COMMANDS)}", file=sys.stderr)
        return 2
    options = _parser().parse_args(arguments)
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
    from instrument.commands import COMMANDS as ACTIONS
    from instrument.setup import REFUSALS

    try:
        ACTIONS[options.command](options)
        return 0
    except REFUSALS as problem:
        print(f"bender: {' '.join(str(problem).split())}", file=sys.stderr)
        return 2


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
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _play(commands.add_parser("play", help="play live until Ctrl-C"))
    _render(commands.add_parser("render", help="the same engine, offline, into a file"))
    commands.add_parser("list", help="models, patches, mappings, MIDI ports, outputs")
    models = commands.add_parser("models", help="what each model is made of, what is missing and what gets it")
    _models_dir(models)
    levers = commands.add_parser("levers", help="the table of levers")
    levers.add_argument("--markdown", action="store_true", help="as the README shows it")
    params = commands.add_parser("params", help="every parameter of a patch, with range and unit")
    _what(params)
    _mapping(commands.add_parser("mapping", help="check a mapping, or draw its controller with what everything does"))
    learn = commands.add_parser("learn", help="bind a control you touch to a parameter you name")
    learn.add_argument("target", help="parameter id, or a trigger such as panic")
    learn.add_argument("--mapping", type=Path, default=Path("my.yaml"), help="file to write to (default: %(default)s)")
    _what(learn)
    learn.add_argument("--midi", default="*", help="name pattern of the MIDI port to listen to (default: any)")
    learn.add_argument(
        "--timeout", type=_seconds, default=30.0, help="seconds to wait for a touch (default: %(default)g)"
    )
    bench = commands.add_parser("bench", help="time a chunk, unbent and bent, as ratios; or what control costs")
    bench.add_argument(
        "what", nargs="?", choices=("chunk", "bends", "control", "gpu"), default="chunk", help="default: %(default)s"
    )
    _what(bench)
    _where(bench)
    bench.add_argument("--chunks", type=_count, default=40, help="counted chunks of each kind (default: %(default)s)")
    bench.add_argument("--each", action="store_true", help="`bench bends`: every lever alone, too")
    bench.add_argument(
        "--random", metavar="SHAPE", help="`bench bends`, `bench gpu`: random weights of this shape: 1.3b, 14b"
    )
    bench.add_argument("--compile", action="store_true", help="`bench bends`: compiled, and recorded on a GPU")
    bench.add_argument(
        "--seconds", type=_seconds, default=10.0, help="of each row of `bench control` (default: %(default)g)"
    )
    _study(commands.add_parser("study", help="what knobs do to the house model's pictures, as numbers and charts"))
    gallery = commands.add_parser(
        "gallery", help="prompts x bends as contact sheets, with a page that says what each is"
    )
    _where(gallery)
    gallery.add_argument("--out", type=Path, default=Path("docs"), help="folder of the page (default: %(default)s)")
    return parser


def _study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=("fig3", "fig4", "geometry", "response", "all"), help="the study, or all of them"
    )
    parser.add_argument("--n", type=_count, default=64, help="held-back captions (default: %(default)s)")
    parser.add_argument("--seed", type=_count, default=1, help="of captions and noise (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--weights", type=Path, help="a weights file of the house model instead of the one that ships")
    parser.add_argument(
        "--out", type=Path, default=Path("out/study"), help="folder of tables and pictures (default: %(default)s)"
    )
    parser.add_argument("--charts", action="store_true", help="only draw again what is in the folder")
    parser.add_argument("--threads", type=_count, help="CPU threads (default: all cores but one)")


def _mapping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check", "show"), help="check it, or draw it as SVG")
    parser.add_argument("mapping", help="a mapping's name or file")
    parser.add_argument("--mappings-dir", type=Path, help="your own folder of mappings")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to draw it (default: to the terminal)")
    parser.add_argument("--patch", default="all-levers", help="the patch it should play (default: %(default)s)")
    parser.add_argument("--patches-dir", type=Path, help="your own folder of patches")


def _what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patch", default="citylights", help="a patch's name or file (default: %(default)s)")
    parser.add_argument("--patches-dir", type=Path, help="your own folder of patches")


def _models_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models-dir", type=Path, help="your folder of models' files (default: models)")


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a model's name (default: the patch's)")
    parser.add_argument("--weights", type=Path, help="a weights file instead of the model's own")
    _models_dir(parser)
    parser.add_argument("--size", type=_size, metavar="WxH", help="multiples of 16 (default: the model's)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--threads", type=_count, help="CPU threads of the model (default: all cores but one)")
    parser.add_argument("--plain", action="store_true", help="the model as it is: nothing compiled, recorded or halved")


def _scene(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", help="instead of the patch's prompt")
    parser.add_argument("--seed", type=int, help="instead of the patch's seed")
    parser.add_argument("--audio", metavar="INPUT", help="sound for modulators: a file, a device's name, or default")
    parser.add_argument("--set", action="append", default=[], metavar="ID=VALUE", help="a parameter's first value")


def _play(parser: argparse.ArgumentParser) -> None:
    _what(parser)
    _where(parser)
    _scene(parser)
    parser.add_argument(
        "--setlist", nargs="+", default=[], metavar="PATCH", help="more patches, prepared at start: patch.next, ..."
    )
    parser.add_argument(
        "--mapping",
        action="append",
        help="a mapping's name or file; several for several controllers (default: default)",
    )
    parser.add_argument("--mappings-dir", type=Path, help="your own folder of mappings")
    parser.add_argument(
        "--out", action="append", default=[], metavar="OUTPUT", help="camera, file:clip.mp4, ...; several may be given"
    )
    parser.add_argument("--fps", type=_rate, help="a fixed output rate (default: what the engine sustains)")
    parser.add_argument("--fade", action="store_true", help="with a rate above the engine's, cross-fade between frames")
    parser.add_argument("--host", default="127.0.0.1", help="address of OSC and page (default: %(default)s)")
    parser.add_argument("--osc-port", type=_port, default=9000, help="UDP and TCP port of OSC (default: %(default)s)")
    parser.add_argument(
        "--osc-out",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="tell a program every change, or `sender` for everybody who sends; several may be given",
    )
    parser.add_argument("--no-mdns", action="store_true", help="do not announce OSC and OSCQuery on the network")
    parser.add_argument("--page-port", type=_port, default=8000, help="port of the page (default: %(default)s)")
    parser.add_argument("--pin", type=_pin, help="asked for by the page (default: a new one where --host opens it)")
    parser.add_argument("--no-page", action="store_true", help="do not serve the page")
    parser.add_argument("--midi", default=None, help="name pattern of MIDI ports (default: the mappings' own)")
    parser.add_argument("--seconds", type=_seconds, help="stop after so long")
    parser.add_argument("--json", action="store_true", help="status as JSON lines, for machines")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write warnings and faults there in full")


def _render(parser: argparse.ArgumentParser) -> None:
    _what(parser)
    _where(parser)
    _scene(parser)
    parser.add_argument("--out", required=True, action="append", metavar="OUTPUT", help="a file, or any output")
    parser.add_argument("--seconds", type=_seconds, default=10.0, help="length of the clip (default: %(default)g)")


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write for example 256x144")
    if max(int(width), int(height)) > LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is too large; at most {LARGEST} pixels a side")
    return int(width), int(height)


def _number(text: str, lo: float, hi: float, what: str) -> float:
    """A number of that range, ends included; an argparse error saying what is wanted otherwise."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not lo <= number <= hi:
        raise argparse.ArgumentTypeError(f"'{text}' cannot be; give {what}")
    return number


def _seconds(text: str) -> float:
    return _number(text, 1e-3, 1e9, "seconds, more than 0")


def _rate(text: str) -> float:
    return _number(text, 0.1, 240, "frames per second, 0.1 to 240")


def _whole(text: str, lo: int, hi: int, what: str) -> int:
    number = _number(text, lo, hi, what)
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"'{text}' cannot be; give {what}")
    return int(number)


def _count(text: str) -> int:
    return _whole(text, 1, 10**6, "a whole number, 1 or more")


def _pin(text: str) -> str:
    if not (4 <= len(text) <= 64 and text.isascii() and text.isprintable() and text == text.strip()):
        raise argparse.ArgumentTypeError("a PIN has 4 to 64 letters, digits or signs")
    return text


def _port(text: str) -> int:
    return _whole(text, 0, 65535, "a port, 1 to 65535, or 0 for any free one")


if __name__ == "__main__":
    sys.exit(main())

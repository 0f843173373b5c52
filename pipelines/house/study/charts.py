"""Studies as charts, from the tables they left: PNG by matplotlib, an extra that is imported only here."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.house.study.report import Row, read_table

DOTS = 110  # per inch


def lacking() -> str:
    """What is missing to draw with, and the remedy; "" when nothing is."""
    if find_spec("matplotlib") is not None:
        return ""
    return "matplotlib is not installed; pip install 'attentionbender[study]', then run the study again with --charts"


def draw(study: str, folder: Path) -> list[Path]:
    """The charts of a study whose tables are in the folder. FileNotFoundError naming the table that is not there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes, paint = _CHARTS[study]
    figure = Figure(figsize=sizes, layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure, lambda table: read_table(folder / f"{study}-{table}.csv"))
    path = folder / f"{study}-chart.png"
    figure.savefig(path, dpi=DOTS)
    return [path]


Tables = Callable[[str], list[Row]]


def _fig3(figure: Any, table: Tables) -> None:
    rows = table("rows")
    panels = (("hue moved", "hue moved, degrees"), ("to no colour", "way to no colour word"), ("iou", "IoU"))
    panels += (("background", "background change"),)
    lines = {
        name: sorted(
            ((row["gain"], row) for row in rows if row["knob"] in (name, "unbent")), key=lambda pair: float(pair[0])
        )
        for name in ("the colour word", "the motion", "the place", "the subject", "the article")
    }
    goals = {"hue moved": 60.0, "iou": 0.8, "background": 0.05, "to no colour": 0.75}
    for axis, (key, label) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name, points in lines.items():
            bold = name == "the colour word"
            axis.plot(
                [gain for gain, _ in points], [row[key] for _, row in points], "o-", label=name, lw=2.2 if bold else 1
            )
        axis.axhline(goals[key], color="grey", ls=":")
        axis.set(xlabel="gain of the word's map", ylabel=label)
    figure.axes[0].legend(fontsize=8)


def _fig4(figure: Any, table: Tables) -> None:
    left, right = figure.subplots(1, 2)
    for row_set, style in (("first chunk", "-"), ("last chunk", ":")):
        for third, colour in (("early", "tab:blue"), ("middle", "tab:orange"), ("late", "tab:green")):
            points = [row for row in table("spectra") if row["third"] == third and row["when"] == row_set]
            left.semilogx(
                [row["frequency"] for row in points],
                [row["share"] for row in points],
                style,
                color=colour,
                label=f"{third}, {row_set}",
            )
    left.set(xlabel="cycles per picture height", ylabel="share of the change's power")
    left.legend(fontsize=8)
    rows = table("bands")
    places = [row["band"] for row in rows]
    right.bar([float(x) - 0.2 for x in places], [row["from unbent"] for row in rows], 0.4, label="from the unbent")
    right.bar([float(x) + 0.2 for x in places], [row["from others"] for row in rows], 0.4, label="from other bands")
    right.set(xlabel="band of hidden neurons, gain 3", ylabel="rms distance")
    right.legend(fontsize=8, loc="lower right", framealpha=1)


def _geometry(figure: Any, table: Tables) -> None:
    points, moves = table("points"), ("move x", "move y", "turn", "size")
    labels = ("fraction of width", "fraction of height", "degrees", "doublings")
    for axis, move, label in zip(figure.subplots(1, len(moves)), moves, labels, strict=True):
        for hold, colour in (("all words", "tab:orange"), ("subject", "tab:blue")):
            own = [row for row in points if row["move"] == move and row["hold"] == hold]
            axis.scatter([row["asked"] for row in own], [row["found"] for row in own], 9, colour, label=hold, alpha=0.6)
        low, high = axis.get_xlim()
        axis.plot([low, high], [low, high], color="grey", ls=":")
        axis.set(title=move, xlabel=f"asked, {label}", ylabel="found")
    figure.axes[0].legend(fontsize=8)


def _response(figure: Any, table: Tables) -> None:
    curves, pasts = table("curves"), ("kept", "reset", "disabled")
    for axis, past in zip(figure.subplots(1, len(pasts), sharey=True), pasts, strict=True):
        for knob in dict.fromkeys(row["knob"] for row in curves):
            own = [row for row in curves if row["knob"] == knob and row["past"] == past]
            axis.plot([row["frame"] for row in own], [row["change"] for row in own], label=knob)
        axis.set(title=f"past {past}", xlabel="frames after the jump", ylabel="rms change")
    figure.axes[0].legend(fontsize=7)


_CHARTS: dict[str, tuple[tuple[float, float], Callable[[Any, Tables], None]]] = {
    "fig3": ((15, 3.6), _fig3),
    "fig4": ((11, 4), _fig4),
    "geometry": ((15, 3.8), _geometry),
    "response": ((14, 4), _response),
}

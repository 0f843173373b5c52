"""Outputs that are fed: each in its own thread, whatever the others do; what is slow, fails, or hangs."""

import threading
import time

import pytest

from instrument.outputs import OutputError, OutputGroup, OutputRunner, parse
from instrument.outputs import runner as runner_module
from instrument.outputs.base import Output
from instrument.outputs.dummy import DummyOutput
from tests.stamps import flat


def until(fact, seconds=20.0):
    """Wait until `fact()` holds; the last word on it."""
    end = time.monotonic() + seconds
    while not fact() and time.monotonic() < end:
        time.sleep(0.005)
    return fact()


class Slow(Output):
    """Takes each frame only when the gate opens."""

    name = "slow"

    def __init__(self):
        self.gate = threading.Event()
        self.got = []
        self.closed = False

    def send(self, frame, at=None):
        self.gate.wait()
        self.got.append(int(frame[0, 0, 0]))

    def close(self):
        self.closed = True


class Failing(Output):
    """Fails `times` sends, then works."""

    name = "failing"

    def __init__(self, times):
        self.left, self.opens, self.got = times, 0, 0

    def open(self, width, height, fps):
        self.opens += 1

    def send(self, frame, at=None):
        if self.left:
            self.left -= 1
            raise ConnectionResetError("peer went away")
        self.got += 1


def test_runner_sends_in_order_and_closes_after_the_last():
    output = DummyOutput(keep=600)
    runner = OutputRunner(output)
    runner.start(64, 32, 24)
    for n in range(3):
        runner.send(flat(n, n, n))
    assert runner.close()
    assert [int(frame[0, 0, 0]) for _, frame in output.frames] == [0, 1, 2]
    assert output.opened is None
    assert runner.stats().sent == 3 and runner.stats().dropped == 0
    runner.send(flat(9, 9, 9))  # too late, and harmless
    assert runner.stats().sent == 3


def test_what_is_recorded_and_for_how_long_is_known(tmp_path):
    (tmp_path / "take.png").write_bytes(b"kept")
    runner = OutputRunner(parse(f"file:{tmp_path}/take.png?mirror"))
    runner.start(64, 32, 24)
    assert until(lambda: runner.stats().seconds >= 0.1)
    stats = runner.stats()
    assert stats.name == f"file:{tmp_path}/take.png" and stats.writing == f"{tmp_path}/take-2.png"
    assert stats.told == f"{stats.name} records {stats.seconds:.0f} s into {stats.writing}"
    assert runner.close() and runner.stats().writing == ""
    dummy = OutputRunner(DummyOutput())
    dummy.start(64, 32, 24)
    assert dummy.stats().told == "dummy plays" and dummy.close()


def test_a_slow_output_drops_the_oldest_and_never_delays_the_caller():
    output = Slow()
    runner = OutputRunner(output)
    runner.start(64, 32, 24)
    runner.send(flat(0, 0, 0))
    assert until(lambda: not runner._queue)  # frame 0 is inside send now
    for n in range(1, 11):
        runner.send(flat(n, n, n))  # would wait for ever if it waited for the output
    output.gate.set()
    assert runner.close()
    assert output.got == [0, 8, 9, 10]
    assert output.closed
    assert runner.stats().dropped == 7


def test_a_slow_output_does_not_hold_up_its_neighbour():
    slow, quick = Slow(), DummyOutput()
    group = OutputGroup([slow, quick])
    group.start(64, 32, 24)
    for n in range(20):
        group.send(flat(n, n, n))
        time.sleep(0.002)
    assert until(lambda: quick.count >= 18)
    slow.gate.set()
    group.close()
    assert [stats.name for stats in group.stats()] == ["slow", "dummy"]


def test_a_failing_output_is_opened_again():
    output = Failing(times=3)
    runner = OutputRunner(output, back_off=(0.01, 0.02), settled=0.1)
    runner.start(64, 32, 24)

    def fed():
        runner.send(flat(1, 1, 1))
        return output.got >= 2 and not runner.stats().error

    assert until(fed)
    runner.close()
    stats = runner.stats()
    assert output.opens == 4
    assert stats.errors == 3
    assert stats.error == ""  # over, so no longer shown


def test_an_output_that_fails_every_few_frames_is_not_called_well_and_waits_longer():
    class Flapping(Output):
        name, pauses, ended = "flapping", [], 0.0

        def open(self, width, height, fps):
            self.left = 2
            if self.ended:
                self.pauses.append(time.monotonic() - self.ended)

        def send(self, frame, at=None):
            self.left -= 1
            if self.left < 0:
                self.ended = time.monotonic()
                raise ConnectionResetError("peer went away")

    output = Flapping()
    runner = OutputRunner(output, back_off=(0.05, 0.1, 0.2))
    runner.start(64, 32, 24)
    shown = []

    def fed():
        runner.send(flat(1, 1, 1))
        shown.append(bool(runner.stats().error))
        return len(output.pauses) >= 4

    assert until(fed)
    runner.close()
    assert shown == sorted(shown)  # once shown, the reason stays
    assert [pause >= wanted for pause, wanted in zip(output.pauses, (0.05, 0.1, 0.2, 0.2), strict=False)] == [True] * 4


def test_the_reason_shows_while_the_failure_lasts_and_closing_is_quick():
    runner = OutputRunner(Failing(times=10_000), back_off=(30.0,))
    runner.start(64, 32, 24)
    runner.send(flat(1, 1, 1))
    assert until(lambda: runner.stats().errors == 1)
    assert "peer went away" in runner.stats().error
    assert runner.close(timeout=20)  # sooner than the next attempt


def test_a_refusal_to_open_reaches_the_caller(tmp_path):
    group = OutputGroup([parse("dummy"), parse(f"file:{tmp_path}/none/clip.mp4")])
    with pytest.raises(OutputError, match="there is no folder"):
        group.start(64, 32, 24)
    assert group.runners[0].output.opened is None


def test_outputs_of_one_name_are_told_apart():
    group = OutputGroup([parse("dummy"), parse("dummy?keep=2")])
    group.start(64, 32, 24)
    assert group.add(parse("dummy")) == "dummy (3)"
    assert [stats.name for stats in group.stats()] == ["dummy", "dummy (2)", "dummy (3)"]
    first = group.runners[0]
    assert group.remove("dummy (2)") and group.remove("dummy (3)") and group.runners == (first,)
    with pytest.raises(OutputError, match=r"no such output; did you mean 'dummy'\?"):
        group.remove("dummy (2)")
    assert group.add(parse("dummy")) == "dummy (2)"
    group.close()


def test_an_output_that_does_not_open_refuses_and_holds_up_no_other(monkeypatch):
    class Closed(Slow):
        def open(self, width, height, fps):
            self.gate.wait()

    group, hanging, refusals = OutputGroup([parse("dummy")]), Closed(), []
    group.start(64, 32, 24)
    monkeypatch.setattr(runner_module, "OPENING", 2.0)

    def add():
        with pytest.raises(OutputError) as refusal:
            group.add(hanging)
        refusals.append(str(refusal.value))

    adding = threading.Thread(target=add)
    adding.start()
    assert until(lambda: "slow" in group._opening)
    assert group.add(parse("dummy")) == "dummy (2)" and group.remove("dummy (2)")
    adding.join()
    assert "output slow: it did not open within 2 s; check what it needs" in refusals[0]
    assert [stats.name for stats in group.stats()] == ["dummy"] and not hanging.closed
    hanging.gate.set()  # it does open in the end
    assert until(lambda: hanging.closed)
    group.close()


def test_an_output_that_stands_still_is_told_of_until_it_moves(monkeypatch):
    monkeypatch.setattr(runner_module, "STUCK", 0.1)
    output = Slow()
    runner = OutputRunner(output)
    runner.start(64, 32, 24)
    runner.send(flat(1, 1, 1))
    assert until(lambda: "slow: has stood still for over 0.1 s; is its receiver" in runner.stats().error)
    assert runner.stats().errors == 0
    output.gate.set()
    assert until(lambda: runner.stats().sent == 1) and runner.stats().error == ""
    runner.close()


def test_all_outputs_are_finished_together():
    """One that hangs takes no time from those after it."""
    hanging, other = [Slow() for _ in range(4)], DummyOutput()
    group = OutputGroup([*hanging, other])
    group.start(64, 32, 24)
    group.send(flat(1, 1, 1))
    began = time.monotonic()
    group.close(timeout=2.0)
    assert time.monotonic() - began < 6 and other.opened is None and other.count == 1
    for each in hanging:
        each.gate.set()


def test_an_error_of_many_lines_is_told_in_one():
    class Chatty(Output):
        name = "chatty"

        def open(self, width, height, fps):
            raise RuntimeError("first\n  second\n" + "x" * 5000)

    with pytest.raises(OutputError) as refusal:
        OutputRunner(Chatty()).start(64, 32, 24)
    assert "RuntimeError: first second xxx" in str(refusal.value) and len(str(refusal.value)) < 350


def test_an_output_that_hangs_is_left_behind():
    output = Slow()
    runner = OutputRunner(output)
    runner.start(64, 32, 24)
    runner.send(flat(1, 1, 1))
    assert not runner.close(timeout=0.05)
    output.gate.set()

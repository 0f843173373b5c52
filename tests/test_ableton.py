"""Ableton Link between two processes, on a network of their own; and what is said where it is not installed."""

import os
import shutil
import subprocess
import sys

import pytest

from instrument.modulation.ableton import AbletonLink, LinkMissing
from instrument.modulation.clock import Clock

NETWORK = (
    "ip link set lo up && ip link set lo multicast on && ip route add 224.0.0.0/4 dev lo && "
    'exec "{python}" -c "$PROGRAM"'
)
PROGRAM = """
import asyncio, subprocess, sys, time
from instrument.modulation.ableton import AbletonLink
from instrument.modulation.clock import LINK, Clock

OTHER = '''
import asyncio, sys, aalink
async def main():
    link = aalink.Link(97.0)
    link.enabled, link.quantum = True, 4.0
    loop = asyncio.get_running_loop()
    while True:
        word = (await loop.run_in_executor(None, sys.stdin.readline)).split()
        if not word:
            return
        if word[0] == "tempo":
            link.tempo = float(word[1])
        print(link.num_peers, link.tempo, link.beat, flush=True)
asyncio.run(main())
'''
other = subprocess.Popen([sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def ask(words="look"):
    other.stdin.write(words + chr(10)); other.stdin.flush()
    return [float(word) for word in other.stdout.readline().split()]

def wait(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)

ask()
time.sleep(2)  # of two sessions whose ages differ by less than half a second, chance decides which is joined
clock = Clock(120)
clock.follow(LINK, time.monotonic())
link = AbletonLink(clock)
link.start()
wait(lambda: link.peers == 1 and abs(clock.tempo - 97) < 0.01)  # the session that was there first
ask("tempo 133")
wait(lambda: abs(clock.tempo - 133) < 0.01)
link.set_tempo(88.5)
wait(lambda: abs(ask()[1] - 88.5) < 0.01)
apart = []
for _ in range(9):
    before = time.monotonic(); beat = ask()[2]; after = time.monotonic()
    apart.append(abs((beat - clock.beat((before + after) / 2) + 2) % 4 - 2))  # in the bar
assert sorted(apart)[4] < 0.05, apart
link.close()
wait(lambda: ask()[0] == 0)
other.stdin.close(); other.wait(10)
print("played together")
"""


def test_two_programs_share_tempo_and_beat():
    pytest.importorskip("aalink")
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip, for a network of its own")
    ways = (["unshare", "-n"], ["unshare", "-rn"])
    way = next((way for way in ways if subprocess.run([*way, "true"], capture_output=True).returncode == 0), None)
    if way is None:
        pytest.skip("no network of its own may be made here")
    command = [*way, "sh", "-c", NETWORK.format(python=sys.executable)]
    done = subprocess.run(command, env={**os.environ, "PROGRAM": PROGRAM}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "played together" in done.stdout, done.stderr


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "aalink", None)
    link = AbletonLink(Clock())
    with pytest.raises(LinkMissing, match=r'pip install "attentionbender\[link\]"'):
        link.start()
    link.close()

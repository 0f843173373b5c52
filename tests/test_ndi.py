"""NDI with its real runtime: sender and receivers in processes of their own, on loopback alone."""

import subprocess
import sys

import pytest

from tests import ndi


def heard(scene, groups="Public"):
    pytest.importorskip("cyndilib", reason='cyndilib is not installed: pip install "attentionbender[ndi]"')
    if not sys.platform.startswith("linux"):
        pytest.skip("the scenes make a network of their own, which only Linux can")
    return ndi.alone(scene, groups)


def test_numbers_cross_to_another_process_in_order_with_rate_size_and_metadata():
    seen = heard("numbers")
    assert seen["source"].endswith("(one)")
    numbers = [number for number in seen["numbers"] if number >= 100]
    assert len(numbers) >= 20  # of 60; the first go while the connection is still being made
    assert numbers == sorted(set(numbers)) and set(numbers) <= set(seen["sent"])
    assert seen["size"] == [256, 144] and seen["rate"] == pytest.approx(30)
    assert seen["mean"][:3] == pytest.approx([102, 108, 91], abs=8) and seen["mean"][3] == 255
    [[tag, words]] = seen["metadata"]
    assert tag == "ndi_product"
    assert words["long_name"] == "AttentionBender" and words["model_name"] == "tides & <rock>"


def test_receivers_come_die_and_freeze_without_holding_up_the_sender():
    seen = heard("comings")
    assert seen["most"] == 2
    assert seen["slowest"] < 3
    assert seen["late"] >= 20 and seen["distinct"] == seen["late"]


def test_a_source_in_other_groups_is_hidden_and_in_ours_is_shown():
    assert heard("hidden", groups="stage")["source"] == ""
    shown = heard("grouped", groups="stage")
    assert shown["source"].endswith("(three)")
    assert "NDI runs with groups 'stage,foyer' already" in shown["refusal"]


def test_opened_again_with_another_size_odd_in_number():
    seen = heard("again")
    assert seen["source"].endswith("(AttentionBender)")
    assert seen["size"] == [254, 142] and seen["rate"] == pytest.approx(24)
    assert seen["numbers"] == [7]


def test_it_keeps_to_what_every_output_keeps_to():
    assert heard("contract") == {"status": 0, "passed": 7}


def test_without_the_wheel_it_says_how_to_get_it():
    code = (
        "import sys; sys.modules['cyndilib'] = None\n"
        "from instrument.outputs import OutputError, parse\n"
        "output = parse('ndi')\n"
        "try: output.open(64, 32, 24)\n"
        "except OutputError as error: print(error)\n"
        "output.close()"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'pip install "attentionbender[ndi]"' in said


def test_nothing_is_imported_before_it_opens():
    code = "import sys; from instrument.outputs import parse; parse('ndi'); assert 'cyndilib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""What studies measure, on pictures whose truth is known: hues, places, sizes, turns, spectra."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from pipelines.house.study import measures
from pipelines.house.study.masks import overlap

HEIGHT, WIDTH = 72, 128


def grid() -> tuple[torch.Tensor, torch.Tensor]:
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    return x, y


def disc(x: float = 64, y: float = 36, radius: float = 15) -> torch.Tensor:
    """A mask [1, 1, h, w]."""
    across, down = grid()
    return ((across - x).square() + (down - y).square() <= radius**2)[None, None]


def rgb(hue: float, strength: float = 0.6) -> torch.Tensor:
    """A colour [3] of this hue in degrees, by the hexagon's six corners."""
    red, green, blue = (abs((hue / 60 + shift) % 6 - 3) - 1 for shift in (0, 4, 2))
    return 0.2 + strength * torch.tensor([red, green, blue]).clamp(0, 1)


def painted(mask: torch.Tensor, colour: torch.Tensor, ground: float = 0.1) -> torch.Tensor:
    """A picture [1, 1, 3, 2h, 2w]: twice as large as its mask, as studies have them."""
    large = mask.repeat_interleave(2, -1).repeat_interleave(2, -2)[:, :, None]
    return torch.where(large, colour.view(1, 1, 3, 1, 1), torch.tensor(ground))


def arrow(degrees: float, size: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture [1, 3, 2h, 2w] and a mask [1, h, w] of a shape unlike itself at any turn, turned clockwise."""
    x, y = grid()
    a = math.radians(degrees)
    dx, dy = (x - 60) / size, (y - 36) / size
    u, v = dx * math.cos(a) + dy * math.sin(a), -dx * math.sin(a) + dy * math.cos(a)
    mask = ((u.abs() <= 18) & (v.abs() <= 4)) | ((u - 10).square() + (v + 4).square() <= 49)
    bright = 0.4 + 0.4 * (u > 0)
    picture = torch.where(mask, bright, 0.1)[None, None, None].expand(1, 1, 3, -1, -1)
    large = torch.nn.functional.interpolate(picture[:, 0], scale_factor=2.0, mode="nearest")
    return large, mask[None]


@given(some.floats(0, 359), some.floats(-179, 179))
@settings(max_examples=25, deadline=None)
def test_a_hue_and_its_shift_are_read(start, shift):
    mask = disc()
    before, after = (measures.chroma(painted(mask, rgb(h)), mask) for h in (start, (start + shift) % 360))
    assert measures.hue_away(measures.hue(before), torch.tensor([start])) < 4  # a hexagon, not a circle
    assert abs(float(measures.hue_away(measures.hue(before), measures.hue(after))) - abs(shift)) < 5


def test_grey_has_no_strength_and_an_empty_mask_no_colour():
    mask = disc()
    assert measures.chroma(painted(mask, torch.full((3,), 0.7)), mask).norm() < 1e-6
    assert measures.chroma(painted(mask, rgb(90)), torch.zeros_like(mask)).isnan().all()


def test_the_background_is_what_lies_beyond_both_subjects():
    left, right = disc(40), disc(80)
    a, b = painted(left, rgb(0)), painted(right, rgb(200))
    assert measures.background_change(a, b, left, right) == pytest.approx(0, abs=1e-6)
    darker = painted(right, rgb(200), ground=0.25)
    assert measures.background_change(a, darker, left, right) == pytest.approx(0.15, abs=1e-5)
    everywhere = torch.ones_like(left)
    assert measures.background_change(a, darker, everywhere, right).isnan()


@pytest.mark.parametrize(("dx", "dy"), [(12.8, 0), (0, -7.2), (-25.6, 14.4)])
def test_a_disc_moved_is_found_where_it_went(dx, dy):
    was, now = measures.stand(disc()), measures.stand(disc(64 + dx, 36 + dy))
    assert float(now.x - was.x) == pytest.approx(dx / WIDTH, abs=0.004)
    assert float(now.y - was.y) == pytest.approx(dy / HEIGHT, abs=0.006)


def test_size_is_a_length_not_an_area():
    was, now = measures.stand(disc(radius=10)), measures.stand(disc(radius=20))
    assert float(now.size / was.size) == pytest.approx(2, rel=0.02)
    assert measures.stand(torch.zeros(1, 1, 8, 8, dtype=torch.bool)).size.isnan()


@pytest.mark.parametrize("degrees", [-150, -60, -30, 0, 20, 45, 90, 135])
@pytest.mark.parametrize("size", [1.0, 1.3])
def test_a_turn_is_read_clockwise_whatever_the_size(degrees, size):
    (before, mask), (after, turned) = arrow(0), arrow(degrees, size)
    found = measures.turned(before, after, mask, turned)
    assert measures.hue_away(found.degrees, torch.tensor([float(degrees)])) <= 5
    assert found.agreement > 0.8 and found.roundness < 0.75


def test_a_disc_says_that_its_turn_cannot_be_seen():
    mask = disc(radius=20)
    picture = painted(mask, torch.full((3,), 0.8))[:, 0]
    assert measures.turned(picture, picture, mask[:, 0], mask[:, 0]).roundness > 0.75


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("cycles", [4, 12, 24])
def test_a_grating_has_its_frequency_both_ways(cycles, across):
    x, y = grid()
    wave = 0.1 * torch.sin(math.tau * cycles * (x if across else y) / HEIGHT)
    found = measures.spectrum(wave.expand(1, 2, 3, -1, -1))
    assert float(found.centre) == pytest.approx(cycles, abs=0.3)
    assert float(found.share[0, cycles - 2 : cycles + 1].sum()) > 0.95
    assert float(found.share.sum()) == pytest.approx(1, abs=1e-5)


def test_white_noise_spreads_evenly_over_the_plane():
    noise = torch.randn(8, 4, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    found = measures.spectrum(noise)
    per_point = found.share.mean(0) / found.frequency  # rings grow with their radius
    assert float(per_point[5:].std() / per_point[5:].mean()) < 0.1


def test_a_line_and_its_certainty():
    x = torch.linspace(-1, 1, 50)
    sure = measures.line(x, 0.7 * x + 0.1)
    assert (sure.slope, sure.offset, sure.r2) == pytest.approx((0.7, 0.1, 1.0))
    noise = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert measures.line(x, noise).r2 < 0.2
    gap = torch.where(x > 0.5, torch.nan, x)
    assert measures.line(x, gap).count == int((x <= 0.5).sum())
    assert math.isnan(measures.line(x, torch.full_like(x, torch.nan)).slope)


def test_bands_that_do_the_same_are_told_and_others_are_not():
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(8, 1, 64, generator=generator)
    noise = torch.randn(8, 20, 64, generator=generator)
    alike = measures.likeness(own + 0.3 * noise)
    assert alike.within > 0.8 and abs(alike.between) < 0.2 and alike.told == 1
    unlike = measures.likeness(noise)
    assert abs(unlike.within) < 0.05 and unlike.told < 0.3


def test_half_of_a_change_is_reached_where_it_is():
    ramp = torch.cat([torch.linspace(0, 1, 21), torch.ones(20)])
    assert measures.half_time(ramp) == 11 and measures.half_time(ramp, 0.9) == 19
    assert measures.half_time(torch.ones(16)) == 1
    assert math.isnan(measures.half_time(torch.zeros(16)))


def test_overlap_of_discs():
    a, b = disc(), disc(64 + 15)
    share = float(overlap(a, b))
    lens = 2 * 15**2 * math.acos(0.5) - 7.5 * math.sqrt(4 * 15**2 - 15**2)
    assert share == pytest.approx(lens / (2 * math.pi * 15**2 - lens), abs=0.02)
    nothing = torch.zeros_like(a)
    assert float(overlap(a, a)) == 1 and float(overlap(a, nothing)) == 0

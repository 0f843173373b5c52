"""The procedural world: what the captions promise is what the pictures show."""

import re

import pytest
import torch

from pipelines.house import names
from pipelines.house.scenes import interleave, siblings
from pipelines.house.world import (
    VOCABULARY,
    captions,
    is_held_back,
    render,
    render_masks,
    sample,
    scenes_from_attributes,
)

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"height": 72, "width": 128}


def hue_of(rgb: torch.Tensor) -> torch.Tensor:
    """[..., 3] -> hue in turns."""
    r, g, b = rgb.unbind(-1)
    return torch.atan2(3**0.5 * (g - b), 2 * r - g - b) / (2 * torch.pi) % 1


def inside(clip: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Dominant colour inside a mask: the mean weighted by cover and by how colourful each pixel is, [3]."""
    weight = (mask * (clip.amax(1) - clip.amin(1)))[:, None]
    return (clip * weight).sum((0, 2, 3)) / weight.sum((0, 2, 3))


def test_the_same_seed_gives_the_same_world():
    a, b, other = sample(12, 7), sample(12, 7), sample(12, 8)
    assert captions(a, 3) == captions(b, 3)
    assert captions(a, 3) != captions(other, 3)
    assert torch.equal(render(a[:3], frames=2, **SMALL), render(b[:3], frames=2, **SMALL))


def test_siblings_differ_in_one_thing():
    scenes = sample(400, 3)
    others = siblings(scenes, 4)
    places = others.place[:, None].expand(-1, 2)
    assert not is_held_back(others.colour, others.subject, places).any()
    same = [(getattr(scenes, name) == getattr(others, name)).view(400, -1).all(1) for name in vars(scenes)]
    changes = 400 - torch.stack(same, 1).sum(0)
    assert dict(zip(vars(scenes), changes.tolist(), strict=True)).keys() >= {"colour", "jitter"}
    assert int((~torch.stack(same, 1)).sum(1).max()) == 1
    counted = {name: int(count) for name, count in zip(vars(scenes), changes, strict=True)}
    assert counted["jitter"] == counted["slot_jitter"] == counted["count"] == counted["camera"] == 0
    assert all(counted[name] > 40 for name in ("colour", "subject", "motion", "place", "light"))
    both = interleave(scenes[:3], others[:3])
    assert both.place.tolist() == torch.stack([scenes.place[:3], others.place[:3]], 1).flatten().tolist()


@pytest.mark.parametrize(("height", "width"), [(144, 256), (90, 160), (128, 128), (256, 144), (66, 202)])
def test_any_even_size_and_aspect(height, width):
    scenes = sample(3, 1)
    clips = render(scenes, frames=2, height=height, width=width)
    assert clips.shape == (3, 2, 3, height, width)
    assert torch.isfinite(clips).all()
    assert clips.min() >= 0 and clips.max() <= 1
    assert render_masks(scenes, frames=2, height=height, width=width).shape == (3, 2, 2, height, width)


def test_every_attribute_renders_finite_and_bright_enough():
    rows = [
        {"colour": "teal", "subject": s, "place": p}
        for s, p in zip(names.SUBJECTS, list(names.PLACES) * 2, strict=False)
    ]
    rows += [{"colour": "red", "subject": "moon", "motion": m} for m in names.MOTIONS]
    rows += [{"colour": "blue", "subject": "star", "light": light} for light in names.LIGHTS]
    rows += [{"colour": "pink", "subject": "fish", "camera": camera} for camera in names.CAMERAS]
    clips = render(scenes_from_attributes(rows), frames=3, **SMALL)
    assert torch.isfinite(clips).all()
    assert (clips.amax((1, 2, 3, 4)) > 0.25).all()


def test_an_unknown_name_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"no subject 'tulpi'.*tulip"):
        scenes_from_attributes([{"colour": "red", "subject": "tulpi"}])
    with pytest.raises(ValueError, match="unknown attribute 'color'"):
        scenes_from_attributes([{"color": "red"}])
    with pytest.raises(ValueError, match="'train' or 'heldback'"):
        sample(2, 0, split="test")


def test_captions_use_the_vocabulary_and_all_of_it():
    lines = captions(sample(6000, 5), 5)
    said = {word for line in lines for word in re.findall(r"[a-z]+", line)}
    assert said == set(VOCABULARY)
    assert all(re.fullmatch(r"[a-z]+(,? [a-z]+)*", line) for line in lines)


def test_a_full_caption_leaves_nothing_out():
    row = {"colour": "purple", "subject": "tulip", "motion": "swaying", "place": "dark sea", "camera": "zoom in"}
    assert captions(scenes_from_attributes([row]), 0, full=True) == [
        "a purple tulip swaying over a dark sea, slow zoom in"
    ]
    pair = {"colour": "red", "subject": "star", "motion": "rising", "place": "starry night"}
    pair |= {"colour2": "orange", "subject2": "ring", "motion2": "spinning"}
    assert captions(scenes_from_attributes([pair]), 0, full=True) == [
        "a red star rising and an orange ring spinning in a starry night"
    ]


def test_about_a_quarter_of_scenes_are_pairs_of_different_things():
    scenes = sample(4000, 2)
    assert 0.2 < (scenes.count == 2).float().mean() < 0.3
    assert (scenes.colour[:, 0] != scenes.colour[:, 1]).all()
    assert (scenes.subject[:, 0] != scenes.subject[:, 1]).all()


def test_held_back_combinations_never_occur_in_training():
    train, held = sample(5000, 3), sample(2000, 3, split="heldback")
    for slot in range(2):
        assert not is_held_back(train.colour[:, slot], train.subject[:, slot], train.place).any()
    assert is_held_back(held.colour[:, 0], held.subject[:, 0], held.place).all()
    grid = torch.cartesian_prod(*(torch.arange(len(t)) for t in (names.COLOURS, names.SUBJECTS, names.PLACES)))
    assert 0.07 < is_held_back(*grid.unbind(1)).float().mean() < 0.13
    for table, part in ((names.COLOURS, train.colour), (names.SUBJECTS, train.subject)):
        assert part[:, 0].unique().numel() == len(table)


@pytest.mark.parametrize("colour", list(names.HUES))
def test_the_colour_word_rules_the_hue_inside_the_mask(colour):
    subjects = ["tulip", "crystal", "smoke", "cell", "bird", "eye"]
    places = ["underwater", "desert dunes", "misty forest", "snowfield", "cave", "mountains"]
    rows = [{"colour": colour, "subject": s, "place": p} for s, p in zip(subjects, places, strict=True)]
    scenes = scenes_from_attributes(rows, seed=4)
    clips, masks = render(scenes, frames=2, **SMALL), render_masks(scenes, frames=2, **SMALL)
    hues = torch.tensor(list(names.HUES.values()))
    for row, clip, mask in zip(rows, clips, masks, strict=True):
        away = (hue_of(inside(clip, mask[:, 0])) - hues + 0.5) % 1 - 0.5
        assert list(names.HUES)[away.abs().argmin()] == colour, row


def test_white_is_white():
    scenes = scenes_from_attributes([{"colour": "white", "subject": s} for s in ("star", "ring", "feather")])
    for clip, mask in zip(render(scenes, frames=1, **SMALL), render_masks(scenes, frames=1, **SMALL), strict=True):
        rgb = (clip * mask[:, :1]).sum((0, 2, 3)) / mask[:, :1].sum()
        assert rgb.amax() - rgb.amin() < 0.15 and rgb.mean() > 0.5


def test_subjects_are_large_enough_to_read():
    scenes = scenes_from_attributes([{"colour": "red", "subject": s} for s in names.SUBJECTS])
    rows = render_masks(scenes, frames=1, **SMALL)[:, 0, 0].amax(-1) > 0.5  # [N, H]
    tall = rows.float().mean(-1)
    assert (tall > 0.18).all() and (tall < 0.75).all(), dict(zip(names.SUBJECTS, tall.tolist(), strict=True))


def test_a_clip_started_later_is_the_tail_of_the_longer_clip():
    scenes = sample(5, 11)
    whole = render(scenes, frames=8, **SMALL)
    torch.testing.assert_close(render(scenes, start_frame=5, frames=3, **SMALL), whole[:, 5:], atol=2e-3, rtol=0)
    starts = torch.tensor([0, 1, 2, 3, 4])
    each = render(scenes, start_frame=starts, frames=2, **SMALL)
    for i in range(5):
        torch.testing.assert_close(each[i], whole[i, i : i + 2], atol=2e-3, rtol=0)


def test_neighbouring_frames_differ_little_and_forever():
    scenes = sample(16, 13)
    for start in (0, 20 * 3600):
        clips = render(scenes, start_frame=start, frames=6, height=48, width=86)
        assert (clips[:, 1:] - clips[:, :-1]).abs().mean((2, 3, 4)).max() < 0.06


@pytest.mark.parametrize("motion", [m for m in names.MOTIONS if m != "still"])
def test_motion_shows_within_a_second(motion):
    rows = [{"colour": "gold", "subject": s, "motion": m} for s in ("crystal", "star") for m in (motion, "still")]
    masks = render_masks(scenes_from_attributes(rows, seed=2), frames=21, **SMALL)[:, :, 0]
    change = ((masks - masks[:, :1]).abs().sum((2, 3)) / masks.sum((2, 3)).amax(1, keepdim=True)).amax(1)
    assert change[0] > 2 * change[1] and change[0] > 0.2
    assert change[2] > change[3]


def test_no_subject_is_ever_lost_for_long():
    rows = [{"colour": "red", "subject": "ring", "motion": m} for m in names.MOTIONS]
    cover = render_masks(scenes_from_attributes(rows), frames=40, height=48, width=86)[:, :, 0].sum((2, 3))
    assert ((cover > 0.25 * cover.amax(1, keepdim=True)).float().mean(1) > 0.75).all()


def test_left_is_left_and_up_is_up():
    rows = [{"colour": "red", "subject": "moon", "motion": f"drifting {d}"} for d in ("left", "right")]
    rows += [{"colour": "red", "subject": "moon", "motion": m} for m in ("falling", "rising")]
    scenes = scenes_from_attributes(rows)
    jitter = scenes.slot_jitter.clone()
    jitter[..., 3] = 0.3  # well inside the travel
    masks = render_masks(scenes.alter(slot_jitter=jitter), frames=11, **SMALL)[:, :, 0]
    centre_x = (masks.sum(2) * torch.arange(128)).sum(-1) / masks.sum((2, 3))
    centre_y = (masks.sum(3) * torch.arange(72)).sum(-1) / masks.sum((2, 3))
    assert centre_x[0, -1] < centre_x[0, 0] - 5 and centre_x[1, -1] > centre_x[1, 0] + 5
    assert centre_y[2, -1] > centre_y[2, 0] + 5 and centre_y[3, -1] < centre_y[3, 0] - 5

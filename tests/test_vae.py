"""Wan's autoencoder as a stream, against the reference and against decoding all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipelines.checkpoint import LoadError, open_checkpoint
from pipelines.vae import WanVAE, load_vae, vae_names
from tests import golden

pytest.importorskip("diffusers")
TOLERANCE = 1e-4
CASE, ORIGINAL, DIFFUSERS = "vae/decode_encode", "vae/weights_original_naming", "vae/weights_diffusers_naming"


def _vae(name: str = ORIGINAL) -> WanVAE:
    return load_vae(golden.path(f"{name}.safetensors"), torch.empty(0))


def _pixels(video: Tensor) -> Tensor:
    """The reference's [B, 3, T, H, W] in -1..1 as streams have them."""
    return (video.transpose(1, 2) + 1) / 2


@pytest.mark.parametrize("name", [ORIGINAL, DIFFUSERS])
def test_decoding_and_encoding_equal_the_reference(name: str) -> None:
    vae, case = _vae(name), golden.tensors(CASE)
    with torch.inference_mode():
        decoded = vae.decode(case["z"].transpose(1, 2))
        encoded = vae.encode(_pixels(case["video"]))
    differences = [
        (2 * (decoded - _pixels(case["decode"])).abs().max()).item(),
        (encoded.transpose(1, 2) - case["latents_from_encode"]).abs().max().item(),
    ]
    print(f"{name}: decoded, encoded within {differences}")
    assert max(differences) < TOLERANCE


def test_a_stream_in_chunks_is_the_same_to_the_last_bit() -> None:
    vae, case = _vae(), golden.tensors(CASE)
    z, memory = case["z"].transpose(1, 2), vae.fresh()
    with torch.inference_mode():
        whole = vae.decode(z)
        parts = [vae.decode(part, memory) for part in z.split(3, dim=1)]
    assert [part.shape[1] for part in parts] == [12 - vae.trimmed, 12, 12] == [9, 12, 12]
    assert torch.equal(torch.cat(parts, 1), whole)
    for i, part in enumerate(parts):
        expected = _pixels(case[f"stream_chunk{i}"]).clamp(0, 1)
        torch.testing.assert_close(part, expected, atol=TOLERANCE, rtol=0)


def test_streaming_equals_diffusers_own_decoding() -> None:
    vae, z = _vae(), golden.tensors(CASE)["z"]
    with torch.inference_mode():
        theirs = vae.vae.decode(z * vae.std + vae.mean, return_dict=False)[0]
        assert torch.equal(vae.decode(z.transpose(1, 2)), _pixels(theirs))


def test_pictures_are_encoded_one_and_then_by_fours() -> None:
    vae, video = _vae(), _pixels(golden.tensors(CASE)["video"])
    memory = vae.fresh_encoder()
    with torch.inference_mode():
        whole = vae.encode(video)
        parts = [vae.encode(part, memory) for part in video.split([1, 8, 8], dim=1)]
        assert [part.shape[1] for part in parts] == [1, 2, 2] and torch.equal(torch.cat(parts, 1), whole)
        # The last picture repeats where a group of four is not full.
        short = vae.encode(video[:, :3])
        filled = vae.encode(torch.cat([video[:, :3], video[:, 2:3].expand(-1, 2, -1, -1, -1)], 1))
    assert short.shape[1] == 2 and torch.equal(short, filled)


def test_every_original_name_has_its_place() -> None:
    expected = golden.facts("vae/key_map_original_to_diffusers")
    assert vae_names({name: name for name in expected}) == {theirs: name for name, theirs in expected.items()}


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(LoadError, match=r"no Wan autoencoder: it lacks encoder\.conv_in\.weight"):
        load_vae(tmp_path / "a.safetensors", torch.empty(0))
    tensors = {name: tensor.read() for name, tensor in open_checkpoint(golden.path(f"{ORIGINAL}.safetensors")).items()}
    del tensors["decoder.head.2.bias"]
    torch.save(tensors, tmp_path / "Wan2.1_VAE.pth")
    with pytest.raises(LoadError, match=r"missing decoder\.conv_out\.bias"):
        load_vae(tmp_path / "Wan2.1_VAE.pth", torch.empty(0))

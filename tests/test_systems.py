"""A system opened from files as they are published, small and made here, and played."""

from __future__ import annotations

import io
import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from instrument.engine.engine import Engine
from instrument.parameters.params import ParamSet
from instrument.show import Show
from instrument.state.patch import loads
from pipelines import systems
from pipelines.checkpoint import LoadError
from pipelines.files import with_decoder
from pipelines.offload import stream_blocks
from pipelines.quantise import KINDS, Float8Linear
from pipelines.quicken import make_stream
from pipelines.recipes import CAUSVID, KREA, LONGLIVE, Recipe
from pipelines.stream import Stream
from pipelines.systems import SHAPES, Fit, open_system, pick_device, pick_dtype, random_system, text_place
from pipelines.taehv import TAEHV
from pipelines.vae import WanVAE, random_vae
from pipelines.wan import WanConfig
from tests.tiny import play, wan

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

CONFIG = replace(wan().config, text_dim=32, text_len=24)
CPU, FLOAT = torch.device("cpu"), torch.float32
SONG = """version: 1
prompt: a purple tulip
bends:
  - {name: tulip, lever: cross.map.gain, scope: {tokens: tulip}}
  - {name: dirt, lever: ffn.out.noise}
"""
SENTENCE = "a purple tulip swaying over a dark sea, under the orange moon of a slow night"


def _row(row: Recipe, **changes: object) -> Recipe:
    return replace(row, config=CONFIG, width=96, height=64, steps=(1000, 500), **changes)


def _text_encoder() -> dict[str, torch.Tensor]:
    """A small random encoder under the original names."""
    torch.manual_seed(1)
    model = transformers.UMT5EncoderModel(
        transformers.UMT5Config(
            vocab_size=512, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
        )
    )
    mine = model.state_dict()
    parts = {"attn.q": "0.SelfAttention.q", "attn.k": "0.SelfAttention.k", "attn.v": "0.SelfAttention.v"}
    parts |= {"attn.o": "0.SelfAttention.o", "pos_embedding.embedding": "0.SelfAttention.relative_attention_bias"}
    parts |= {"norm1": "0.layer_norm", "norm2": "1.layer_norm", "ffn.gate.0": "1.DenseReluDense.wi_0"}
    parts |= {"ffn.fc1": "1.DenseReluDense.wi_1", "ffn.fc2": "1.DenseReluDense.wo"}
    found = {
        f"blocks.{i}.{name}.weight": mine[f"encoder.block.{i}.layer.{theirs}.weight"]
        for i in range(2)
        for name, theirs in parts.items()
    }
    top = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
    return found | {name: mine[theirs] for name, theirs in top.items()}


def _tokenizer() -> bytes:
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([SENTENCE] * 8),
        model_writer=made,
        vocab_size=64,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return made.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with everything that the rows below need."""
    folder = tmp_path_factory.mktemp("models")

    def place(file: str) -> Path:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    state = wan(3, CONFIG).state_dict()
    prefixed = {f"model.{name}": tensor for name, tensor in state.items()}
    torch.save({"generator": prefixed}, place(LONGLIVE.weights))
    save_file(prefixed, place(KREA.weights))
    linear = [
        name for name in state if name.startswith("blocks.") and name.endswith("weight") and state[name].ndim == 2
    ]
    lora = {}
    for name in linear:
        stem, (out, inside) = f"base_model.model.{name.removesuffix('.weight')}", state[name].shape
        lora[f"{stem}.lora_A.weight"], lora[f"{stem}.lora_B.weight"] = torch.randn(2, inside), torch.randn(out, 2) * 0.1
    torch.save({"generator_lora": lora}, place(LONGLIVE.lora))
    torch.save(_text_encoder(), place("Wan-AI/Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth"))
    place("Wan-AI/Wan2.1-T2V-1.3B/google/umt5-xxl/spiece.model").write_bytes(_tokenizer())
    torch.manual_seed(2)
    vae = diffusers.AutoencoderKLWan(base_dim=8).state_dict()
    save_file(vae, place("Wan-AI/Wan2.1-T2V-1.3B-Diffusers/vae/diffusion_pytorch_model.safetensors"))
    torch.save(TAEHV().state_dict(), place("madebyollin/taehv/taew2_1.pth"))
    return folder


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


ROWS = {
    "sink and LoRA": _row(LONGLIVE, window=6, sink=1),
    "made anew": _row(KREA),
    "small decoder": _row(KREA, parts="taehv"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_system_is_opened_and_played_from_its_files(name: str, models: Path, tmp_path: Path) -> None:
    row = ROWS[name]
    system = open_system(row, CPU, FLOAT, None, models)
    prompt = system.encoder.encode("a purple tulip")
    assert prompt.embeddings.shape == (1, 24, 32) and list((tmp_path / "cache").rglob("*.safetensors"))
    stream = Stream(system.model, system.decoder, row)
    stream.read_prompt(prompt)
    frames = play(stream, 3)
    stream.read_prompt(system.encoder.encode("the orange moon"))
    assert frames.shape == (9 + 12 + 12, 64, 96, 3) and play(stream, 1).shape[0] == 12
    assert frames.std() > 0


@pytest.mark.parametrize("name", ROWS)
def test_the_engine_plays_it_live(name: str, models: Path) -> None:
    """A bend, a new prompt, an empty cache, another seed and panic, chunk after chunk."""
    system = open_system(ROWS[name], CPU, FLOAT, None, models)
    frames: list[object] = []
    params = ParamSet()
    stream = Stream(system.model, system.decoder, system.recipe)
    engine = Engine(stream, system.encoder, params, lambda frame, stamp: frames.append(frame))
    engine.load(loads(SONG, "song.yaml"))
    engine.play_chunk()
    params.set("tulip.gain", 3.0)
    params.set("dirt.noise", 0.5)
    for _ in range(2):
        engine.play_chunk()
    assert engine.held["tulip"]
    params.set("prompt.text", "a dark sea")
    engine.prompts.wait_for_all()  # this encoder is a slow one: else the old prompt would play on until it is done
    engine.play_chunk()
    assert any("tulip" in notice for notice in engine.notices)
    for trigger in ("cache.reset", "engine.reseed", "panic"):
        params.trigger(trigger)
        engine.play_chunk()
    engine.finish()
    assert engine.fault == "" and stream.notice == ""
    # A cache reset goes on from the decoder's memory; another seed and panic begin the picture anew.
    assert len(frames) == 9 + 4 * 12 + 2 * 9


def test_a_lora_is_part_of_what_is_opened(models: Path) -> None:
    row = _row(LONGLIVE)
    states = [open_system(each, CPU, FLOAT, None, models).model.state_dict() for each in (row, replace(row, lora=""))]
    assert sum(bool((states[0][name] != states[1][name]).any()) for name in states[0]) == 10 * CONFIG.num_layers


def test_a_licence_that_forbids_is_said_once(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_system(_row(LONGLIVE), CPU, FLOAT, None, models)
        assert not caplog.records
        open_system(_row(KREA), CPU, FLOAT, None, models)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["model 'krea': CC BY-NC-SA 4.0: not for commercial use"]


def test_another_transformer_can_be_named_and_must_fit(models: Path) -> None:
    row = replace(_row(KREA), weights="nobody/nothing/x.safetensors")
    with pytest.raises(LoadError, match=r"missing nobody/nothing/x\.safetensors"):
        open_system(row, CPU, FLOAT, None, models)
    assert open_system(row, CPU, FLOAT, models / KREA.weights, models).model.config == CONFIG
    with pytest.raises(LoadError, match="is another model: dim 128 instead of 5120"):
        open_system(KREA, CPU, FLOAT, None, models)


def test_devices_that_are_not_there_are_refused() -> None:
    assert pick_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA GPU"):
            pick_device("cuda")


# --- made to fit a machine ---


def test_the_precision_is_what_the_device_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, dtype in (((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert pick_dtype(torch.device("cuda")) == dtype
    assert pick_dtype(CPU) == pick_dtype(torch.device("mps")) == torch.float32


def test_the_text_encoder_goes_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    card = torch.device("cuda")
    for total, memory, expected in (
        (80, 64, ("cuda", True)),
        (16, 64, ("cpu", True)),
        (16, 16, ("cpu", False)),
        (16, 0, ("cpu", False)),  # a system that does not say
    ):
        properties = SimpleNamespace(total_memory=total * 2**30)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, found=properties: found)
        monkeypatch.setattr(systems, "_main_memory", lambda memory=memory: memory * 2**30)
        place, keep = text_place(card, "auto")
        assert (place.type, keep) == expected
    assert text_place(card, "device") == (card, True)
    assert text_place(card, "cpu") == (CPU, True) and text_place(card, "drop") == (CPU, False)
    monkeypatch.undo()
    assert systems._main_memory() > 2**30 or sys.platform == "win32"


@pytest.mark.parametrize("parts", ["wan", "taehv"])
def test_either_decoder_plays_any_of_the_rows(parts: str, models: Path) -> None:
    """CausVid's and Krea's rules look at pictures again, LongLive's does not."""
    for row in (_row(LONGLIVE, window=6, sink=1, lora=""), _row(CAUSVID, weights=KREA.weights, window=9), _row(KREA)):
        chosen = with_decoder(row, parts)
        system = open_system(chosen, CPU, FLOAT, None, models)
        assert isinstance(system.decoder, TAEHV) == (parts == "taehv")
        assert system.notes["decoder"] == {"wan": "Wan's own", "taehv": "the small one (TAEHV)"}[parts]
        stream = Stream(system.model, system.decoder, chosen)
        stream.read_prompt(system.encoder.encode("a purple tulip"))
        assert play(stream, 2).shape == (9 + 12, 64, 96, 3)


def test_a_fitted_system_is_quantised_and_streamed_and_says_so(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, which has neither: the ways there are the same."""
    row = _row(KREA)
    plain = open_system(row, CPU, FLOAT, None, models)
    with pytest.raises(LoadError, match="play without --quantize"):
        open_system(row, CPU, FLOAT, None, models, Fit(quantize="fp8"))
    with pytest.raises(LoadError, match="leave it away"):
        open_system(row, CPU, FLOAT, None, models, Fit(stay=1))
    monkeypatch.setitem(KINDS, "fp8", lambda device: "row")
    monkeypatch.setattr(systems, "offload", stream_blocks)
    fitted = open_system(row, CPU, FLOAT, None, models, Fit("fp8", 1, "drop"))
    assert isinstance(fitted.model.blocks[0].ffn[0], Float8Linear) and fitted.encoder.keep is False
    assert fitted.notes == {
        "weights": "fp8 in the blocks' linear layers",
        "blocks": "2 of 3 in main memory (0.0 GiB), streamed to the card",
        "decoder": "Wan's own",
        "text encoder": "on cpu, dropped after each new prompt",
    }
    frames = []
    for system in (plain, fitted):
        stream = Stream(system.model, system.decoder, row)
        stream.read_prompt(system.encoder.encode("a purple tulip"))
        frames.append(play(stream, 2).astype(int))
    off = abs(frames[0] - frames[1])
    assert off.any() and off.mean() < 4  # of 255


def test_the_start_sheet_says_how_it_was_fitted(models: Path) -> None:
    system = open_system(_row(KREA), CPU, FLOAT, None, models, Fit(text="drop"))
    patch = loads(SONG, "song.yaml")
    show = Show(system, patch, [], None, 1)
    try:
        facts = show.facts()
    finally:
        show.close()
    assert facts["decoder"] == "Wan's own" and facts["text encoder"] == "on cpu, dropped after each new prompt"


@pytest.mark.parametrize("decoder", ["taehv", "wan"])
def test_random_weights_play_with_either_decoder(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = diffusers.AutoencoderKLWan(base_dim=8, num_res_blocks=1)
    monkeypatch.setattr(systems, "random_vae", lambda: WanVAE(small))
    config = WanConfig(dim=96, ffn_dim=128, num_heads=2, num_layers=1, text_dim=32, text_len=16)
    recipe = replace(SHAPES["1.3b"], config=config, width=32, height=32)
    system = random_system(with_decoder(recipe, decoder), torch.device("cpu"), torch.float32)
    assert type(system.decoder) is {"taehv": TAEHV, "wan": WanVAE}[decoder]
    assert torch.get_default_dtype() == torch.float32
    playing = make_stream(system)
    playing.read_prompt(system.encoder.encode("an orange flame"))
    for _ in playing.denoise():
        pass
    frames = list(playing.decode(playing.commit()))
    assert frames[0].shape == (32, 32, 3) and len(frames) >= 9


def test_random_weights_are_as_many_as_the_real_ones() -> None:
    """Wan's own decoder only where it is asked for."""
    assert SHAPES["1.3b"].parts == SHAPES["14b"].parts == "taehv"
    with torch.device("meta"):
        assert sum(p.numel() for p in random_vae().parameters()) == 126_892_531

"""A tiny transformer of diffusers, what it is given, and what a bend may leave behind in it."""

from __future__ import annotations

import pytest
import torch

from pipelines.bends.lever import discover
from pipelines.spec import ChoiceSpec, ControlSpec, SwitchSpec
from tests.tiny import prompt

diffusers = pytest.importorskip("diffusers")

LEVERS = discover()
FRAMES, LATENT = 3, (8, 12)
GRID = (FRAMES, 4, 6)
WORDS = prompt().words  # "a purple tulip swaying over a dark sea"
SIZES = {
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "text_dim": 48,
    "freq_dim": 64,
    "ffn_dim": 256,
    "num_layers": 3,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
}


def transformer(seed: int = 0, **changed):
    torch.manual_seed(seed)
    return diffusers.WanTransformer3DModel(**(SIZES | changed)).eval().requires_grad_(False)


def pipeline(scheduler: str, second: bool = False, speaking: bool = False):
    """A whole WanPipeline; `speaking`: with a tokenizer and a text encoder, which know the words of VOCABULARY."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    chosen = {
        "euler": diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0),
        "unipc": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
        ),
    }[scheduler]
    small = {"d_model": 48, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 64}
    pipe = diffusers.WanPipeline(
        tokenizer=_tokenizer() if speaking else None,
        text_encoder=transformers.UMT5EncoderModel(transformers.UMT5Config(**small)).eval() if speaking else None,
        vae=vae.eval(),
        scheduler=chosen,
        transformer=transformer(2),
        transformer_2=transformer(3) if second else None,
        boundary_ratio=0.9 if second else None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


VOCABULARY = [
    "a",
    "red",
    "star",
    "over",
    "dark",
    "sea",
    "blurred",
    "moon",
    "spinning",
    "above",
    "city",
    "lights",
    "bright",
]


def _tokenizer():
    """As Wan's, of a few words: a piece writes the space before it, an end mark comes last."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((f"▁{word}", -1.0) for word in VOCABULARY)]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def given_pass(seed: int = 1, timestep: float = 431.0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    return {
        "hidden_states": torch.randn(1, 16, FRAMES, *LATENT, generator=generator),
        "timestep": torch.tensor([timestep]),
        "encoder_hidden_states": torch.randn(1, 16, 48, generator=generator),
    }


def flow(model, given: dict) -> torch.Tensor:
    with torch.no_grad():
        return model(**given, return_dict=False)[0]


def moved(name: str) -> dict:
    """Every amount of a lever away from its neutral value."""
    values = {}
    for amount, spec in LEVERS[name].amounts.items():
        if isinstance(spec, ControlSpec):
            values[f"x.{amount}"] = spec.map(0.7 if spec.map(0.7) != spec.default else 0.4)
        elif isinstance(spec, SwitchSpec):
            values[f"x.{amount}"] = not spec.default
        elif isinstance(spec, ChoiceSpec):
            values[f"x.{amount}"] = next(option for option in spec.options if option != spec.default)
    return values


def traces(model) -> dict:
    """Everything that could be set on a module of the model: attributes, processors, hooks."""
    found = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            found[f"{name}.{key}"] = dict(value) if isinstance(value, dict) else value
    return found


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        same(a[key], b[key]) if isinstance(a[key], dict) else a[key] is b[key] or a[key] == b[key] for key in a
    )

"""Bends in diffusers' `WanTransformer3DModel`: offline and bidirectional, the same levers as in our own transformer.

    words = pieces_of(pipe.tokenizer).tokenize(prompt).words  # see pipelines/pieces.py
    with Bending(pipe.transformer, bends, steps=50) as bending:
        bending.read_prompt(words)
        bending.write({"hue.gain": 0.0})
        video = pipe(prompt, num_inference_steps=50).frames

The weights are not touched. While bent, every attention has a processor of ours and every feed-forward three hooks;
`unbend` (or leaving the `with`) puts back what was there. Needs diffusers only where a model of it is bent. Not for
compiled models: what is set on a module after compilation goes unheard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pipelines.bends.bank import Bank, Bend, parameters_of
from pipelines.bends.fold import BankShape
from pipelines.bends.group import MASTER
from pipelines.bends.hooks import NEUTRAL, LayerBends
from pipelines.bends.scope import Words, asks_for_words
from pipelines.refusal import Refusal
from pipelines.spec import ControlSpec, Spec, Value

if TYPE_CHECKING:
    from diffusers import WanTransformer3DModel
    from diffusers.models.transformers.transformer_wan import WanAttention

Passes = Literal["both", "conditional"]
NO_WORDS = Words("", (), 0, said=False)


class BendError(Refusal, ValueError):
    """A transformer that cannot be bent, or not like this; the message says why and what to do."""


class Bending:
    """Bends at work in one transformer, or in the two of a Wan 2.2 pipeline (high noise first), which share them.

    `steps` is the pipeline's `num_inference_steps`. With classifier-free guidance the transformer runs twice a step;
    `passes` says which of the two are bent. "both" is the default: guidance computes u + s (c - u), so that a bend in
    the conditional pass alone reaches the picture s times too strong, and amounts found live, where there is no
    guidance, would mean something else. Words are looked up in each pass's own prompt, so a word that the negative
    prompt does not have is bent in the conditional pass only. All rows of a batch are bent alike.
    """

    def __init__(
        self,
        transformers: WanTransformer3DModel | Sequence[WanTransformer3DModel],
        bends: Sequence[Bend],
        steps: int,
        passes: Passes = "both",
    ) -> None:
        """Nothing is set on the transformers yet. Raises BendError for those that cannot be bent, and for bends that
        share a name."""
        if passes not in ("both", "conditional"):
            raise BendError(f"passes '{passes}' is not one of both, conditional")
        self.models = (transformers,) if isinstance(transformers, nn.Module) else tuple(transformers)
        sizes = {_sizes(model) for model in self.models}
        if len(sizes) != 1:
            raise BendError(f"one set of bends needs transformers of one size, these have {sorted(sizes)}")
        self.bends, self.steps, self.passes = tuple(bends), steps, passes
        self._sizes = sizes.pop()
        self._values: dict[str, Value] = {}
        self._words = {True: NO_WORDS, False: NO_WORDS}  # of the conditional pass, and of the other
        self._undo: list[_Undo] = []
        try:
            self._values.update({name: spec.default for name, spec in self.parameters.items()})
        except ValueError as problem:
            raise BendError(str(problem)) from None
        self._forget()

    @property
    def parameters(self) -> dict[str, Spec]:
        """Every parameter of every bend, by id."""
        return parameters_of(self.bends, self.steps, self._sizes.layers)

    def write(self, values: Mapping[str, Value]) -> None:
        """The latest values by id, heard from the next pass on; numbers are brought into their range. Raises BendError
        for an id that no bend has, or a number that is none."""
        known = self.parameters
        for name in values:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                raise BendError(f"no parameter '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        try:
            legal = {name: _legal(known[name], value) for name, value in values.items()}
        except ValueError as problem:
            raise BendError(f"{', '.join(values)}: {problem}") from None
        self._values = {**self._values, **legal}

    def read_prompt(self, words: Words, negative: Words = NO_WORDS) -> None:
        """What the prompt and the negative prompt say, for bends scoped to words; heard from the next pass on. Raises
        BendError for anything but Words."""
        for given in (words, negative):
            if not isinstance(given, Words):
                raise BendError(
                    f"read_prompt needs to know where words stand, not {given!r:.60}; "
                    "give pieces_of(pipe.tokenizer).tokenize(prompt).words, from pipelines.pieces"
                )
        self._words = {True: words, False: negative}

    def report(self) -> list[str]:
        """What a player should know of the last passes: words that the prompt does not have, unreadable scopes."""
        return self._banks[True].report() if True in self._banks else []

    def held_tokens(self) -> dict[str, list[int]]:
        """Per bend scoped to tokens, the indices of the prompt's tokens it held in the last pass."""
        return self._banks[True].held_tokens() if True in self._banks else {}

    def bend(self) -> None:
        """Set the bends on the transformers. Raises BendError, with nothing set, where that cannot be."""
        for model in self.models:
            _refuse(model)
        for model in self.models:
            self._undo.append(model.register_forward_pre_hook(self._begin, with_kwargs=True))
            for index, block in enumerate(model.blocks):
                for site, attn in (("self", block.attn1), ("cross", block.attn2)):
                    self._undo.append(_Replaced(attn, _Processor(self, site, index)))
                self._undo.extend(_hook_feed_forward(self, block.ffn, index))

    def unbend(self) -> None:
        """Take everything off again and forget the passes; nothing happens where nothing is set."""
        while self._undo:
            self._undo.pop().remove()
        self._forget()

    def __enter__(self) -> Bending:
        self.bend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unbend()

    def _forget(self) -> None:
        self._count = StepCount(self.steps)
        self._banks: dict[bool, Bank] = {}
        self._shapes: dict[bool, BankShape] = {}
        self.grid = (0, 0, 0)
        self.layers: tuple[LayerBends, ...] = ()

    def _begin(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before each forward of a transformer: find out which pass it is, and fold the bank for it."""
        given = {**dict(zip(("hidden_states", "timestep", "encoder_hidden_states"), args, strict=False)), **kwargs}
        x, text = given["hidden_states"], given["encoder_hidden_states"]
        pass_ = self._count.read(float(given["timestep"].max()), x, text)
        self.grid = tuple(size // patch for size, patch in zip(x.shape[2:], model.config.patch_size, strict=True))
        if not pass_.conditional and self.passes == "conditional":
            self.layers = (NEUTRAL,) * self._sizes.layers
            return
        if pass_.conditional and self._words[True] is NO_WORDS:
            self._refuse_wordless()
        # A bank outlives one generation, and not every caller runs in inference mode.
        with torch.inference_mode(False), torch.no_grad():
            shape = BankShape(*self._sizes, text.shape[1], self.grid, x.device, x.dtype)
            bank = self._bank(pass_, shape)
            bank.write(self._values)
            words = self._words[pass_.conditional]
            bank.read_prompt(words._replace(offsets=words.offsets[: shape.text_len], length=shape.text_len))
            bank.fold(pass_.step)
        self.layers = bank.layers

    def _refuse_wordless(self) -> None:
        """BendError for a bend that is to act on words and was never told where they stand: it would hold nothing."""
        values = self._values
        for bend in self.bends:
            if bend.lever.columns != "tokens" or not values[f"{bend.name}.on"] or not values[MASTER]:
                continue
            tokens = str(values[f"{bend.name}.tokens"])
            amounts = {amount: values[f"{bend.name}.{amount}"] for amount in bend.lever.amounts}
            if asks_for_words(tokens) and not bend.lever.fold.is_neutral(amounts):
                raise BendError(
                    f"bend '{bend.name}' acts on '{tokens}', and where that stands was never said; "
                    "call read_prompt before the first forward"
                )

    def _bank(self, pass_: Pass, shape: BankShape) -> Bank:
        """The bank of this pass. Both passes of a step have one each, with the same seeds: what shakes one shakes the
        other alike, and a noise that moves moves once a step."""
        if pass_.begins:
            for bank in self._banks.values():
                bank.reset()
        if self._shapes.get(pass_.conditional) != shape:
            self._banks[pass_.conditional] = Bank(self.bends, shape, self.steps)
            self._shapes[pass_.conditional] = shape
        return self._banks[pass_.conditional]


class Pass(NamedTuple):
    """One forward of a transformer: its denoising step, whether it reads the prompt (and not the negative one), and
    whether a generation begins with it."""

    step: int
    conditional: bool
    begins: bool


class StepCount:
    """Counts denoising steps from what the transformer is given, whatever pipeline or loop calls it.

    Two passes on the same latents at one timestep are one step's, the conditional one first, as in diffusers'
    pipelines. A timestep that is not lower than the last begins a generation, unless other latents come with the same
    text: that is a scheduler that visits a timestep twice.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._step = -1
        self._timestep = 0.0
        self._latents: Tensor | None = None
        self._text: Tensor | None = None

    def read(self, timestep: float, latents: Tensor, text: Tensor) -> Pass:
        """The next pass; raises BendError when a generation has more than `steps`."""
        again = timestep == self._timestep
        same = again and _equal(latents, self._latents)
        if same and (self._step > 0 or text is not self._text):
            return Pass(self._step, conditional=False, begins=False)
        goes_on = again and text is self._text and self._step + 1 < self.steps and not same
        begins = self._latents is None or not (timestep < self._timestep or goes_on)
        self._step = 0 if begins else self._step + 1
        if self._step >= self.steps:
            raise BendError(f"a step beyond the {self.steps} bent for; give Bending the pipeline's num_inference_steps")
        self._timestep, self._latents, self._text = timestep, latents, text
        return Pass(self._step, conditional=True, begins=begins)


def _equal(a: Tensor, b: Tensor | None) -> bool:
    return a is b or (b is not None and a.device == b.device and torch.equal(a, b))


class _Sizes(NamedTuple):
    layers: int
    heads: int
    dim: int
    ffn_dim: int


def _legal(spec: Spec, value: Value) -> Value:
    return spec.clamp(float(value)) if isinstance(spec, ControlSpec) else value


def _sizes(model: WanTransformer3DModel) -> _Sizes:
    from diffusers import WanTransformer3DModel

    if not isinstance(model, WanTransformer3DModel):
        raise BendError(
            f"{type(model).__name__} is not diffusers' WanTransformer3DModel; give pipe.transformer, not compiled"
        )
    config = model.config
    if config.added_kv_proj_dim is not None or config.image_dim is not None:
        raise BendError(
            "this transformer attends to an image beside the text (added k and v projections); "
            "bends know text only, so load a text-to-video model"
        )
    heads = config.num_attention_heads
    return _Sizes(config.num_layers, heads, heads * config.attention_head_dim, config.ffn_dim)


def _refuse(model: WanTransformer3DModel) -> None:
    """BendError where what is set would not be heard, or would silence something else."""
    from diffusers.models.transformers.transformer_wan import WanAttnProcessor

    if any(module._compiled_call_impl is not None for module in (model, *model.blocks)):
        raise BendError("this transformer is compiled, and would not hear the bends; load it again, uncompiled")
    for name, processor in model.attn_processors.items():
        if isinstance(processor, _Processor):
            raise BendError("this transformer is bent already; unbend it first")
        if type(processor) is not WanAttnProcessor:
            raise BendError(f"{name} is a {type(processor).__name__}, which a bend would replace; take it off first")
        if processor._attention_backend is not None:
            raise BendError(f"{name} uses a backend of its own; call reset_attention_backend() first")
        if getattr(processor, "_parallel_config", None) is not None:  # older releases have none
            raise BendError(f"{name} runs on several devices; bends need every token on one")


class _Processor:
    """Stands where diffusers' WanAttnProcessor stood: the same arithmetic, and the hook points of one block."""

    def __init__(self, bending: Bending, site: Literal["self", "cross"], index: int) -> None:
        self.bending, self.site, self.index = bending, site, index

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,  # [B, L, dim]
        encoder_hidden_states: Tensor | None = None,  # [B, text_len, dim], at cross only
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,  # cosines and sines [1, L, 1, d], at self only
    ) -> Tensor:
        bends = self.bending.layers[self.index]
        q, k, v = _projections(attn, hidden_states, encoder_hidden_states)  # [B, L or text_len, dim]
        q, k, v = (x.unflatten(-1, (attn.heads, -1)) for x in (attn.norm_q(q), attn.norm_k(k), v))
        if rotary_emb is not None:
            q, k = _turned(q, *rotary_emb), _turned(k, *rotary_emb)
        z = bends.attention(self.site, q, k, v, self.bending.grid, attention_mask)  # [B, L, heads, d]
        out, dropout = attn.to_out
        return bends.at(f"{self.site}.out", dropout(out(z.flatten(-2).to(q.dtype))))


def _projections(attn: WanAttention, x: Tensor, text: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if text is None and attn.fused_projections:
        return attn.to_qkv(x).chunk(3, dim=-1)
    if attn.fused_projections:
        return attn.to_q(x), *attn.to_kv(text).chunk(2, dim=-1)
    source = x if text is None else text
    return attn.to_q(x), attn.to_k(source), attn.to_v(source)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs of x [B, L, heads, d] turned; diffusers gives every cosine and sine twice, once for each of a pair."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[..., ::2], sin[..., ::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


class _Replaced:
    """A processor put in another's place."""

    def __init__(self, attn: WanAttention, ours: _Processor) -> None:
        self.attn, self.ours, self.theirs = attn, ours, attn.processor
        attn.set_processor(ours)

    def remove(self) -> None:
        """Put back what was there, unless someone has put in something else since."""
        if self.attn.processor is self.ours:
            self.attn.set_processor(self.theirs)


_Undo = _Replaced | torch.utils.hooks.RemovableHandle


def _hook_feed_forward(bending: Bending, ffn: nn.Module, index: int) -> list[torch.utils.hooks.RemovableHandle]:
    """The hook points of one feed-forward: `net.0` is the first projection with its GELU, `net.2` the second."""

    def enter(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return bending.layers[index].at("ffn.in", args[0]), *args[1:]

    def hidden(module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        return bending.layers[index].at("ffn.hidden", out)

    def leave(module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        return bending.layers[index].at("ffn.out", out)

    return [
        ffn.register_forward_pre_hook(enter),
        ffn.net[0].register_forward_hook(hidden),
        ffn.register_forward_hook(leave),
    ]

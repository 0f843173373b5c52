"""Wan's text encoder: UMT5-XXL through transformers, from the original file or diffusers' folder.

It runs once per new prompt and is by far the largest part of a small system, so it is opened at the first prompt whose
embeddings are not on disk yet (kept.py), may be dropped again after it, and goes to the CPU where the card is full.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipelines.checkpoint import LoadError, open_checkpoint
from pipelines.kept import Kept, fingerprint
from pipelines.load import NOT_IT, make, some
from pipelines.pieces import PieceTokenizer
from pipelines.text import Prompt
from pipelines.transfer import Beside

log = logging.getLogger(__name__)

T = TypeVar("T")
_ATTENTION, _FEED = "layer.0", "layer.1"
_BLOCK = {
    "norm1": f"{_ATTENTION}.layer_norm",
    **{f"attn.{part}": f"{_ATTENTION}.SelfAttention.{part}" for part in "qkvo"},
    "pos_embedding.embedding": f"{_ATTENTION}.SelfAttention.relative_attention_bias",
    "norm2": f"{_FEED}.layer_norm",
    "ffn.gate.0": f"{_FEED}.DenseReluDense.wi_0",
    "ffn.fc1": f"{_FEED}.DenseReluDense.wi_1",
    "ffn.fc2": f"{_FEED}.DenseReluDense.wo",
}
_TOP = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}
_FARTHEST = 128  # tokens apart, beyond which positions are told apart no more


class UMT5Text:
    """A TextEncoder. `like` gives the device and dtype of the encoder; embeddings come out on the CPU."""

    def __init__(
        self,
        path: Path,
        tokenizer: PieceTokenizer,
        like: Tensor,
        cache: Path | None = None,
        keep: bool = True,
    ) -> None:
        """`cache`: a folder for embeddings, by a hash of the prompt and of the file they come from. Without `keep`
        the encoder is dropped after each new prompt, and opened again for the next."""
        self.path, self.tokenizer, self.like, self.keep = path, tokenizer, like, keep
        self._kept = None if cache is None else Kept(cache)
        self._model: nn.Module | None = None

    @property
    def quick(self) -> bool:
        """Seconds on a CPU, for a new prompt."""
        return False

    def encode(self, text: str) -> Prompt:
        """Raises LoadError when the encoder is needed and cannot be opened."""
        pieces = self.tokenizer.tokenize(text)
        key = self._key(pieces.ids)
        rows, notices = self._read(key, len(pieces.ids)), pieces.notices
        if rows is None:
            rows = self._run(pieces.ids)
            problem = self._kept.write(key, rows) if self._kept and key else ""
            notices = (*notices, problem) if problem else notices
        padding = torch.zeros(self.tokenizer.length - rows.shape[0], rows.shape[1], dtype=rows.dtype)
        embeddings = torch.cat([rows, padding])[None]
        return Prompt(pieces.text, embeddings, pieces.tokens, pieces.offsets, notices)

    def let_go(self) -> None:
        """It is opened again for the next new prompt."""
        self._model = None

    def _run(self, ids: tuple[int, ...]) -> Tensor:
        """Embeddings of the real tokens [n, dim]. Padding is masked as a key and zeroed as a row, so it need not be
        there at all."""
        try:
            return self._run_here(ids)
        except torch.OutOfMemoryError:
            if self.like.device.type == "cpu":
                raise
            log.warning(
                "the text encoder does not fit on %s beside the model; it runs on the CPU now", self.like.device
            )
        # Out of the handler, whose traceback would hold on to what has to go.
        self._model, self.like = None, torch.empty(0, dtype=self.like.dtype)
        return self._run_here(ids)

    def _run_here(self, ids: tuple[int, ...]) -> Tensor:
        model = self._model or load_umt5(self.path, self.like)
        self._model = model if self.keep else None
        with torch.inference_mode(), Beside(self.like.device).work(None):  # a show may be playing meanwhile
            rows = model(input_ids=torch.tensor([ids], device=self.like.device)).last_hidden_state[0]
            return rows.cpu().clone()

    def _key(self, ids: tuple[int, ...]) -> str:
        """What the embeddings depend on; "" where that cannot be told."""
        try:
            return f"{fingerprint(self.path)} {self.like.dtype} {ids}" if self._kept else ""
        except OSError:
            return ""

    def _read(self, key: str, count: int) -> Tensor | None:
        return self._kept.read(key, count) if self._kept and key else None


def load_umt5(path: Path, like: Tensor) -> nn.Module:
    """The encoder from `models_t5_umt5-xxl-enc-bf16.pth` or a folder of transformers'. Raises LoadError."""
    try:
        from transformers import UMT5Config, UMT5EncoderModel
    except ImportError as error:
        raise LoadError(f"{path} needs the package transformers; install attentionbender[gpu]") from error
    stored = umt5_names(open_checkpoint(path))
    first = "encoder.block.0.layer.0.SelfAttention"
    needed = ["shared.weight", f"{first}.q.weight", f"{first}.relative_attention_bias.weight"]
    needed.append("encoder.block.0.layer.1.DenseReluDense.wi_0.weight")
    if lacking := [name for name in needed if name not in stored]:
        raise LoadError(f"{path} holds no UMT5 encoder: it lacks {some(lacking)}; {NOT_IT}")
    words, attention, distances, feed = (stored[name].shape for name in needed)
    blocks = {int(name.split(".")[2]) for name in stored if name.startswith("encoder.block.")}
    config = UMT5Config(
        vocab_size=words[0],
        d_model=words[1],
        d_kv=attention[0] // distances[1],
        d_ff=feed[0],
        num_layers=max(blocks) + 1,
        num_heads=distances[1],
        relative_attention_num_buckets=distances[0],
        relative_attention_max_distance=_FARTHEST,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )
    return make(lambda: UMT5EncoderModel(config), stored, str(path), like)


def umt5_names(named: Mapping[str, T]) -> dict[str, T]:
    """Anything kept under the encoder's names, the original ones or transformers', under transformers'. The word
    table, which is one under two names there, is under both."""
    found = {_from_original(name): value for name, value in named.items()}
    if "shared.weight" in found:
        found["encoder.embed_tokens.weight"] = found["shared.weight"]
    return found


def _from_original(name: str) -> str:
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.weight", name)
    if block:
        return f"encoder.block.{block[1]}.{_BLOCK.get(block[2], block[2])}.weight"
    stem = name.removesuffix(".weight")
    return f"{_TOP[stem]}.weight" if stem in _TOP else name

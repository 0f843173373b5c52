"""Wan's text encoder: UMT5-XXL through transformers, from the original file or diffusers' folder.

It runs once per new prompt and is by far the largest part of a small system, so it is opened at the first prompt whose
embeddings are not on disk yet, and may be dropped again after it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipelines.checkpoint import LoadError, open_checkpoint
from pipelines.load import make, some
from pipelines.pieces import PieceTokenizer
from pipelines.text import Prompt
from pipelines.transfer import Beside

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
        the encoder is dropped after each new prompt."""
        self.path, self.tokenizer, self.like, self.cache, self.keep = path, tokenizer, like, cache, keep
        self._model: nn.Module | None = None

    @property
    def quick(self) -> bool:
        """Seconds on a CPU, for a new prompt."""
        return False

    def encode(self, text: str) -> Prompt:
        """Raises LoadError when the encoder is needed and cannot be opened."""
        pieces = self.tokenizer.tokenize(text)
        kept = self._kept_at(pieces.ids)
        rows, notices = self._read(kept), pieces.notices
        if rows is None:
            rows = self._run(pieces.ids)
            notices = (*notices, *self._write(kept, rows))
        padding = torch.zeros(self.tokenizer.length - rows.shape[0], rows.shape[1], dtype=rows.dtype)
        embeddings = torch.cat([rows, padding])[None]
        return Prompt(pieces.text, embeddings, pieces.tokens, pieces.offsets, notices)

    def _run(self, ids: tuple[int, ...]) -> Tensor:
        """Embeddings of the real tokens [n, dim]. Padding is masked as a key and zeroed as a row, so it need not be
        there at all."""
        model = self._model or load_umt5(self.path, self.like)
        self._model = model if self.keep else None
        with torch.inference_mode(), Beside(self.like.device).work(None):  # a show may be playing meanwhile
            rows = model(input_ids=torch.tensor([ids], device=self.like.device)).last_hidden_state[0]
            return rows.cpu().clone()

    def _kept_at(self, ids: tuple[int, ...]) -> Path | None:
        if self.cache is None:
            return None
        source = _fingerprint(self.path)
        name = hashlib.sha256(f"{source} {self.like.dtype} {ids}".encode()).hexdigest()
        return self.cache / f"{name}.safetensors"

    def _read(self, kept: Path | None) -> Tensor | None:
        if kept is None or not kept.is_file():
            return None
        try:
            return load_file(kept)["rows"]
        except (SafetensorError, OSError, KeyError):  # half written by a crash: made again
            return None

    def _write(self, kept: Path | None, rows: Tensor) -> tuple[str, ...]:
        """Keep embeddings; what went wrong, if anything did. Playing goes on without."""
        if kept is None:
            return ()
        partial = kept.with_name(f"{kept.name}.{os.getpid()}.partial")
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            save_file({"rows": rows.contiguous()}, partial)
            partial.replace(kept)
        except (SafetensorError, OSError) as problem:
            return (f"the prompt's embeddings could not be kept in {kept.parent}: {problem}",)
        return ()


def prompt_cache() -> Path:
    """Where embeddings are kept between shows."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "attentionbender" / "prompts"


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
        raise LoadError(f"{path} holds no UMT5 encoder: it lacks {some(lacking)}")
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


def _fingerprint(path: Path) -> str:
    """Tells one encoder's files from another's without reading them."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return " ".join(f"{file.name}:{file.stat().st_size}" for file in files if file.is_file())

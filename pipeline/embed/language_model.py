"""A frozen ESM-2: loaded from the hub or a folder, and asked for its hidden states.

Lin et al. (2023), Evolutionary-scale prediction of atomic-level protein structure with a language
model, Science 379. The model itself is that of `transformers`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.embed.windows import N_SPECIAL, Window, batches_of, windows_of
from pipeline.errors import Failure
from pipeline.extras import check_installed

if TYPE_CHECKING:
    import torch

_CONFIG = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "position_embedding_type",
    "layer_norm_eps",
    "emb_layer_norm_before",
    "token_dropout",
    "mask_token_id",
    "pad_token_id",
)
"""What of the configuration decides the numbers; the rest tells who saved it, and with what."""

_UNUSED = ("contact_head.", "pooler.", "lm_head.")


class ModelError(Failure):
    """The language model cannot be had or run. One sentence that says what to do."""


@dataclass(frozen=True)
class LanguageModel:
    """A model and its alphabet; from `load`.

    Attributes
    ----------
    name : str
        At the hub; of a folder, the folder's own name.
    revision : str or None
        Commit at the hub.
    network : torch.nn.Module
    letters : (128,) int64
        Token of each letter by its ASCII code; that of X for what the model does not know.
    special : tuple of int
        Tokens of a sequence's beginning and end, and of padding.
    layer : int
        Which hidden states, from 0 to `n_layers`.
    max_length : int
        Residues that it is given at once.
    config_sha256, tokenizer_sha256, weights_sha256, sha256 : str
        Of what decides the numbers; the last is of the other three.
    """

    name: str
    revision: str | None
    network: Any = field(repr=False)
    letters: NDArray[np.int64] = field(repr=False)
    special: tuple[int, int, int]
    layer: int
    max_length: int
    device: str
    config_sha256: str
    tokenizer_sha256: str
    weights_sha256: str
    sha256: str

    @property
    def n_layers(self) -> int:
        return int(self.network.config.num_hidden_layers)

    @property
    def dimension(self) -> int:
        return int(self.network.config.hidden_size)

    def embed(
        self, sequences: Sequence[str], dtype: str = "float32", batch_residues: int = 8192
    ) -> list[NDArray[Any]]:
        """Hidden states of all residues.

        Parameters
        ----------
        sequences : sequence of str
            One letter per residue.
        dtype : {"float16", "float32"}
            Of the result. The model computes in float32.
        batch_residues : int
            See `windows.batches_of`.

        Returns
        -------
        list of (L, E) arrays

        Raises
        ------
        ModelError
            No memory for a batch; or numbers that are not finite, or too large for `dtype`.
        """
        windows = [
            window
            for number, sequence in enumerate(sequences)
            for window in windows_of(number, len(sequence), self.max_length)
        ]
        embeddings = [np.empty((len(s), self.dimension), dtype) for s in sequences]
        for batch in batches_of(windows, batch_residues):
            for window, states in zip(batch, self._run(sequences, batch), strict=True):
                kept = states[window.keep_begin - window.begin : window.keep_end - window.begin]
                with np.errstate(over="ignore"):
                    stored = kept.astype(dtype)
                if not np.isfinite(stored).all():
                    raise ModelError(self._not_finite(kept, dtype))
                embeddings[window.sequence][window.keep_begin : window.keep_end] = stored
        return embeddings

    def _run(self, sequences: Sequence[str], batch: Sequence[Window]) -> Iterator[NDArray[Any]]:
        import torch

        width = len(batch[0]) + N_SPECIAL
        begin, end, padding = self.special
        tokens = np.full((len(batch), width), padding, np.int64)
        tokens[:, 0] = begin
        for row, window in zip(tokens, batch, strict=True):
            text = sequences[window.sequence][window.begin : window.end]
            codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
            row[1 : len(window) + 1] = self.letters[codes]
            row[len(window) + 1] = end
        try:
            with torch.inference_mode():
                ids = torch.from_numpy(tokens).to(self.device)
                states = self._states(ids, (ids != padding).long()).float().cpu().numpy()
        except (RuntimeError, MemoryError) as error:
            if _is_out_of_memory(error):
                raise ModelError(_memory_advice(tokens.size, width, self.device)) from error
            raise
        for row, window in zip(states, batch, strict=True):
            yield row[1 : len(window) + 1]

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.layer == self.n_layers:
            return self.network(input_ids=ids, attention_mask=mask).last_hidden_state
        output = self.network(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        return output.hidden_states[self.layer]

    def _not_finite(self, states: NDArray[Any], dtype: str) -> str:
        if np.isfinite(states).all():
            return (
                f"{self.name}: layer {self.layer} has numbers up to {np.abs(states).max():.3g}, "
                f"which {dtype} cannot hold; give --dtype float32"
            )
        return f"{self.name}: its numbers are not finite; is the checkpoint damaged?"


def load(
    model: str, *, layer: int = -1, max_length: int = 0, device: str = "auto"
) -> LanguageModel:
    """Load a model.

    Parameters
    ----------
    model : str
        A folder, or a name at the hub.
    layer : int
        As an index into the hidden states: -1 is the last of ``n_layers + 1``.
    max_length : int
        0 for the length that it was trained with.
    device : str

    Raises
    ------
    ModelError
        The packages, the model or the device are not there, or it is no ESM-2.
    """
    check_packages()
    folder = _folder(model)
    with _silent():
        config = _config(model, folder)
        letters, special, tokenizer_sha256 = _alphabet(model)
        n_layers = int(config.num_hidden_layers)
        if not -n_layers - 1 <= layer <= n_layers:
            raise ModelError(
                f"{model} has no layer {layer}: there are 0 (the input) to {n_layers}, or -1 (the "
                f"last) to {-n_layers - 1}"
            )
        length = _max_length(model, config, max_length)
        network = _network(model)
    device = _device(device)
    try:
        network = network.to(device)
    except (RuntimeError, MemoryError) as error:
        if _is_out_of_memory(error):
            raise ModelError(
                f"{model} itself is too large for {device}; give a smaller model, or --device cpu"
            ) from error
        raise
    hashes = [_config_sha256(config), tokenizer_sha256, _weights_sha256(network)]
    return LanguageModel(
        name=model if folder is None else folder.resolve().name,
        revision=getattr(config, "_commit_hash", None) if folder is None else None,
        network=network,
        letters=letters,
        special=special,
        layer=layer % (n_layers + 1),
        max_length=length,
        device=device,
        config_sha256=hashes[0],
        tokenizer_sha256=hashes[1],
        weights_sha256=hashes[2],
        sha256=_sha256("\n".join(hashes).encode()),
    )


def check_packages() -> None:
    """See that what the base installation lacks is there.

    Raises
    ------
    MissingPackage
    """
    check_installed("embedding", "esm", "torch", "transformers")


def _folder(model: str) -> Path | None:
    """The folder that is meant, or None for a name at the hub."""
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{model} is no checkpoint: it has no config.json; give a folder that "
                "save_pretrained() or `hf download NAME --local-dir FOLDER` made"
            )
        return path
    if path.exists():
        raise ModelError(f"{model} is a file; give the folder that holds it and its config.json")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model) or model.startswith((".", "/", "~")):
        raise ModelError(f"{model}: there is no such folder, and this is no name at the hub either")
    return None


def _config(model: str, folder: Path | None) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model if folder is None else str(folder))
    except (OSError, ValueError, KeyError) as error:
        if folder is not None:
            raise ModelError(
                f"{folder / 'config.json'} cannot be read: {_first_line(error)}"
            ) from error
        raise ModelError(_not_had(model)) from error
    if config.model_type != "esm" or getattr(config, "is_folding_model", False):
        kind = "ESMFold" if config.model_type == "esm" else config.model_type
        raise ModelError(f"{model} is a model of the kind {kind}, not an ESM-2")
    return config


def _alphabet(model: str) -> tuple[NDArray[np.int64], tuple[int, int, int], str]:
    """(token of each ASCII code, special tokens, hash of both)."""
    from transformers import AutoTokenizer

    from pipeline.residues import ONE_LETTER

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(Path(model).expanduser()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{model}: its tokenizer cannot be read, is vocab.txt missing? ({_first_line(error)})"
        ) from error
    vocabulary = tokenizer.get_vocab()
    special = (tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    lacking = [letter for letter in ONE_LETTER if letter not in vocabulary]
    if type(tokenizer).__name__ not in ("EsmTokenizer", "EsmTokenizerFast") or lacking:
        why = f"its vocabulary lacks {lacking[0]}" if lacking else type(tokenizer).__name__
        raise ModelError(f"{model}: its tokenizer is not that of ESM ({why})")
    if any(token is None for token in special):
        raise ModelError(f"{model}: its tokenizer lacks <cls>, <eos> or <pad>")
    letters = np.full(128, vocabulary["X"], np.int64)
    for letter in ascii_uppercase:
        letters[ord(letter)] = vocabulary.get(letter, vocabulary["X"])
    content = json.dumps([letters.tolist(), special]).encode()
    return letters, special, _sha256(content)


def _max_length(model: str, config: Any, wanted: int) -> int:
    # The tokens of beginning and end, and two places that fairseq's numbering never uses.
    trained = int(config.max_position_embeddings) - 2 - N_SPECIAL
    if wanted > trained and config.position_embedding_type != "rotary":
        raise ModelError(
            f"{model} has positions for {trained:,} residues and no more; give a --max-length up "
            "to that"
        )
    return wanted or trained


def _network(model: str) -> Any:
    import torch
    from transformers import EsmModel

    try:
        loaded: Any = EsmModel.from_pretrained(
            str(Path(model).expanduser()), add_pooling_layer=False, output_loading_info=True
        )
        network, info = loaded
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{model}: its weights cannot be read: {_first_line(error)}") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{model}: its weights are no tensors alone, and what else they are might be a "
            "program; give a checkpoint with model.safetensors"
        ) from error
    except Exception as error:  # safetensors has an error of its own, which derives from nothing
        raise ModelError(f"{model}: its weights are damaged: {_first_line(error)}") from error
    lacking = sorted(k for k in info["missing_keys"] if not k.startswith(_UNUSED))
    if lacking:
        # transformers would fill in random numbers, and only warn.
        raise ModelError(
            f"{model} is no whole checkpoint of an ESM-2: {len(lacking)} weights are missing, such "
            f"as {lacking[0]}"
        )
    return network.to(torch.float32).requires_grad_(False).eval()


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"--device {device} cannot be used: {_first_line(error)}") from error
    return device


def _config_sha256(config: Any) -> str:
    content = {name: getattr(config, name, None) for name in _CONFIG}
    return _sha256(json.dumps(content, sort_keys=True).encode())


def _weights_sha256(network: Any) -> str:
    """Of the weights that are used, by name; how the file packs them does not matter."""
    digest = hashlib.sha256()
    for name, weights in sorted(network.named_parameters()):
        if not name.startswith(_UNUSED):
            array = weights.detach().cpu().numpy()
            digest.update(f"{name}:{array.dtype.str}:{array.shape}:".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """No bars and reports of the libraries on the way; what matters is said by `ModelError`."""
    from transformers.utils import logging as of_transformers

    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    had_bars = of_transformers.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    # A download shows its own bar, which is welcome; this is that of a second's reading.
    of_transformers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_bars:
            of_transformers.enable_progress_bar()


def _not_had(model: str) -> str:
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE")
    why = "HF_HUB_OFFLINE is set" if offline else "there is no network, or no model of this name"
    return (
        f"{model} is neither a folder here nor to be had from the Hugging Face hub: {why}; names "
        "are like facebook/esm2_t12_35M_UR50D, and without a network `hf download NAME --local-dir "
        "FOLDER` elsewhere makes a folder to give"
    )


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        "allocate" in str(error) and "memory" in str(error)
    )


def _memory_advice(n_tokens: int, width: int, device: str) -> str:
    if n_tokens > width:
        advice = f"give --batch-residues {max(width, n_tokens // 2)}"
    else:
        advice = f"give --max-length {max(8, (width - N_SPECIAL) // 2)}, or a smaller model"
    return f"{device} has no memory for a batch of {n_tokens:,} residues; {advice}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

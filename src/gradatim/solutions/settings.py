"""How a policy writes: everything that its texts depend on besides weights, seed, prefix and draw; and where it is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from gradatim.errors import ConfigError, escaped_line_end


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Settings of a policy; the last three are of one on this machine only."""

    temperature: float = 1.0
    """Divides the logits; 0 always takes the likeliest token, so that all draws are alike."""
    top_p: float = 1.0
    """Keep the likeliest tokens until they hold this much probability; 1 keeps all."""
    max_new_tokens: int = 1024
    """A continuation that is longer is cut off and has finish "length"."""
    prompt_template: str = "auto"
    """Text with one {prompt} in it that the policy reads before the steps; "chat" is the tokenizer's own chat template,
    "auto" is "chat" where the tokenizer has one and the prompt and a line end where it has none."""
    stop_at_answer: bool = False
    """A text ends with the first line that states its answer by a mark (a box, `####`, `Answer:`), and nothing is written
    after it; otherwise the model decides when it has done."""
    batch_rows: int = 256
    """Continuations that are written side by side. Bounds the memory; changes no text but by float rounding."""
    dtype: str = "float32"
    """Number format of the weights: float32, bfloat16 or float16."""
    device: str = "auto"
    """"auto" (the first GPU, or the CPU), "cpu", "cuda" or "cuda:N"."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature={self.temperature}; expected a finite number from 0 on")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p}; expected a number above 0 and at most 1")
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens={self.max_new_tokens}; expected at least 1")
        if self.batch_rows < 1:
            raise ConfigError(f"batch_rows={self.batch_rows}; expected at least 1")
        if self.prompt_template not in ("auto", "chat") and self.prompt_template.count("{prompt}") != 1:
            raise ConfigError(
                f"prompt_template={self.prompt_template!r}; expected 'auto', 'chat' or a text with one {{prompt}}"
            )
        if re.search(r"\\n(?![a-z])", self.prompt_template):  # \neq and its like are LaTeX
            raise escaped_line_end("prompt_template", self.prompt_template)


PLAIN_SAMPLING = '{"top_k": -1, "min_p": 0, "repetition_penalty": 1}'
"""Turns off what vLLM, SGLang and llama.cpp would otherwise add to temperature and top_p of their own accord (llama.cpp
keeps 40 tokens and min_p .05; the others follow the model's generation_config.json)."""


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """How a policy behind an OpenAI-compatible server is reached and asked."""

    served_model: str | None = None
    """Policy at a URL: the model's name on the server; where none is given, the only one it serves."""
    api: Literal["chat", "completions"] = "chat"
    """Policy at a URL: "chat" continues an assistant turn in the server's chat template, "completions"
    continues plain text."""
    tokenizer: str | None = None
    """Policy at a URL: the model's tokenizer (a folder or hub name), to count tokens where the server's counts
    are missing or wrong; with --api completions also to send token ids, so that no text becomes a control token."""
    api_key_env: str | None = None
    """Policy at a URL: the environment variable that holds the key."""
    concurrency: int = 32
    """Policy at a URL: requests under way at a time."""
    timeout: float = 300.0
    """Policy at a URL: seconds until a request without an answer is given up, and the longest wait that a
    server may ask for."""
    tries: int = 6
    """Policy at a URL: how often a request is sent before its draw counts as failed."""
    backoff: float = 1.0
    """Policy at a URL: seconds before the second try at most; doubles with every further one."""
    request_extra: str = PLAIN_SAMPLING
    """Policy at a URL: a JSON object that is added to every request. The default turns off what a server would
    add to temperature and top_p; '{}' is for servers that know no more than these."""

    def __post_init__(self) -> None:
        if self.api not in ("chat", "completions"):
            raise ConfigError(f"api={self.api!r}; expected chat or completions")
        if self.concurrency < 1 or self.tries < 1:
            raise ConfigError(f"concurrency={self.concurrency}, tries={self.tries}; expected at least 1 of each")
        if not (0 < self.timeout < float("inf") and 0 <= self.backoff < float("inf")):
            raise ConfigError(
                f"timeout={self.timeout}, backoff={self.backoff}; expected finite seconds, timeout above 0"
            )
        self.extra()

    def extra(self) -> dict[str, Any]:
        """`request_extra` as an object; ConfigError if it is none, or sets what is ours to set."""
        try:
            extra = json.loads(self.request_extra)
        except ValueError as error:
            raise ConfigError(f"request_extra={self.request_extra!r} is not JSON ({error})") from None
        if not isinstance(extra, dict):
            raise ConfigError(f"request_extra={self.request_extra!r}; expected a JSON object")
        if ours := sorted(extra.keys() & _OURS):
            raise ConfigError(f"request_extra sets {', '.join(ours)}; each has a setting of its own, or is always ours")
        return extra


_OURS = {
    *("model", "prompt", "messages", "temperature", "top_p", "max_tokens", "seed", "n", "best_of", "stream", "echo"),
    *("continue_final_message", "add_generation_prompt"),
}

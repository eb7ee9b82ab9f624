"""How a local policy writes: everything that its texts depend on besides weights, seed, prefix and draw."""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Settings of a transformers policy on this machine."""

    temperature: float = 1.0
    """Divides the logits; 0 always takes the likeliest token, so that all draws are alike."""
    top_p: float = 1.0
    """Keep the likeliest tokens until they hold this much probability; 1 keeps all."""
    max_new_tokens: int = 1024
    """A continuation that is longer is cut off and has finish "length"."""
    prompt_template: str = "auto"
    """Text with one {prompt} in it that the policy reads before the steps; "chat" is the tokenizer's own chat template,
    "auto" is "chat" where the tokenizer has one and the prompt and a line end where it has none."""
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

"""The critics by name, and what the policy that plays one has to be told."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from gradatim.errors import ConfigError
from gradatim.judges.exams import Critic
from gradatim.judges.genprm import GENPRM
from gradatim.judges.processbench import PROCESSBENCH
from gradatim.judges.stepwise import STEPWISE
from gradatim.judges.thinkprm import THINKPRM
from gradatim.solutions.settings import EndpointSettings, PolicySettings

CriticName = Literal["processbench", "stepwise", "genprm", "thinkprm"]

CRITICS: dict[CriticName, Critic] = {
    "processbench": PROCESSBENCH,
    "stepwise": STEPWISE,
    "genprm": GENPRM,
    "thinkprm": THINKPRM,
}
"""The prompts that there are."""


def settings_for(critic: Critic, policy: str, settings: PolicySettings, endpoint: EndpointSettings) -> PolicySettings:
    """The settings of the policy (a model on this machine, or the URL of a server) that plays a critic.

    A critic that writes the turns itself (`Critic.turns`) needs a policy that reads its text as it is; ConfigError where
    that can't be.
    """
    if not critic.turns:
        return settings
    if settings.prompt_template not in ("auto", "{prompt}"):
        raise ConfigError(f"prompt_template={settings.prompt_template!r}; critic {critic.name} writes its own turns")
    if policy.startswith(("http://", "https://")) and endpoint.api != "completions":
        raise ConfigError(
            f"api={endpoint.api!r}; critic {critic.name} writes its own turns: use --api completions, and the model's "
            "tokenizer with --tokenizer"
        )
    return replace(settings, prompt_template="{prompt}")

"""A policy by what a user calls it, and what a run has to say of one behind a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradatim.core import Policy, Splitter
from gradatim.errors import ConfigError
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.steps import by_line


def open_policy(
    name: str, settings: PolicySettings, endpoint: EndpointSettings, *, splitter: Splitter = by_line
) -> Policy:
    """The policy behind a server where `name` is a URL, otherwise one on this machine (see `load_policy`).

    ConfigError where settings of a server are given for a local one.
    """
    if name.startswith(("http://", "https://")):
        from gradatim.solutions.endpoint import load_endpoint

        return load_endpoint(name, settings, endpoint, splitter=splitter)
    if endpoint != EndpointSettings():
        raise ConfigError(
            f"settings of a server were given, but the policy {name!r} is no URL; a URL begins with http:// or https://"
        )
    from gradatim.solutions.local.policy import load_policy

    return load_policy(name, settings, splitter=splitter)


def served(policy: Policy) -> dict[str, Any]:
    """`{"endpoint": report}` for a policy behind a server, empty for others."""
    from gradatim.solutions.endpoint import EndpointPolicy

    return {"endpoint": policy.report()} if isinstance(policy, EndpointPolicy) else {}


def notes(policy: Policy, not_written: Mapping[str, int], *, kept: bool = True) -> list[str]:
    """Lines for people: what casts doubt on the texts, what is missing and why, and what to do about it where the work
    is `kept`."""
    doubts = served(policy).get("endpoint", {}).get("notes", [])
    missing = [f"{count} not written: {reason}" for reason, count in not_written.items()]
    return [*doubts, *missing, *(["the same command again fills the gaps"] if missing and kept else [])]

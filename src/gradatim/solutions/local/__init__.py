"""Policies that run on this machine: any causal language model of transformers, with a decode loop of our own."""

from __future__ import annotations

from gradatim.solutions.local.policy import LocalPolicy, load_policy
from gradatim.solutions.local.text import TextCodec

__all__ = ["LocalPolicy", "TextCodec", "load_policy"]

"""Policies behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp and many others."""

from __future__ import annotations

from gradatim.solutions.endpoint.policy import EndpointPolicy, load_endpoint

__all__ = ["EndpointPolicy", "load_endpoint"]

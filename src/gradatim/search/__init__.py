"""Search for solutions step by step: a policy writes, a reward model says which prefixes are worth going on from."""

from __future__ import annotations

from gradatim.search.account import Account, Prices
from gradatim.search.config import SearchConfig
from gradatim.search.found import Candidate, Found
from gradatim.search.stage import search, search_stage

__all__ = ["Account", "Candidate", "Found", "Prices", "SearchConfig", "search", "search_stage"]

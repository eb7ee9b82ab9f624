"""What all tests share. That this file is here also lets them import `tiny_models` beside it."""

from __future__ import annotations

from hypothesis import settings

# A busy machine makes an example slow, not wrong.
settings.register_profile("gradatim", deadline=None)
settings.load_profile("gradatim")

"""The public surface is small, sorted, importable and documented."""

import inspect

import gradatim


def test_public_names_are_sorted_and_importable() -> None:
    """`__all__` is in order, and every name in it can be had and says what it is for."""
    assert gradatim.__all__ == sorted(gradatim.__all__)
    for name in gradatim.__all__:
        assert inspect.getdoc(getattr(gradatim, name)), name

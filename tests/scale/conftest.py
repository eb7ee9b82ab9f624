"""One Ray for all tests of this folder: starting it takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from gradatim.scale.pool import QUIET

ROOM = 8
"""Logical CPUs of the node."""


@pytest.fixture(scope="package")
def ray_node() -> Iterator[int]:
    os.environ.update(QUIET)
    ray = pytest.importorskip("ray", reason="several workers need the extra [ray]")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    ray.init(address="local", num_cpus=ROOM, object_store_memory=80 * 2**20, _node_ip_address="127.0.0.1", **quiet)
    yield ROOM
    ray.shutdown()

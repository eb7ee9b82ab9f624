"""Processes that train together, forked from the test: they need not import anything again."""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch._dynamo  # FSDP imports it when it is first used: better here than in each process
from accelerate import PartialState

CAN_FORK = pytest.mark.skipif(not hasattr(os, "fork") or torch.cuda.is_available(), reason="forks, which CUDA forbids")

Work = Callable[[], None]


@contextmanager
def started(count: int, work: Work, **more: str) -> Iterator[list[int]]:
    """So many processes that do some work together, started as by `torchrun`; killed with SIGKILL after the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [_fork(rank, count, port, work, more) for rank in range(count)]
    try:
        yield children
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _fork(rank: int, count: int, port: int, work: Work, more: dict[str, str]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in {**names, "OMP_NUM_THREADS": 1}.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", **more}
        PartialState._reset_state()
        torch.set_num_threads(1)
        work()
        code = 0
    except BaseException as error:
        print(f"process {rank}:", *traceback.format_exception(error), flush=True)
    finally:
        os._exit(code)


def together(count: int, work: Work, **more: str) -> None:
    """Do some work in so many processes, and see that all end well."""
    with started(count, work, **more) as children:
        for child in list(children):
            code = os.waitpid(child, 0)[1]
            children.remove(child)
            assert code == 0

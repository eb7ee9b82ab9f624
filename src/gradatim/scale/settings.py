"""How many workers, and how long to wait for them. Imports no Ray."""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Who does the work of a stage."""

    workers: int = 0
    """Processes beside this one that hold the model and do the work (extra [ray]): on this machine, or on the Ray cluster
    that the environment variable RAY_ADDRESS names. 0: this process does it. The results are the same."""
    worker_cpus: int = 1
    """CPU cores of a worker, and the threads it computes with."""
    worker_gpus: float = 0.0
    """GPUs of a worker; two workers with 0.5 share one."""
    worker_timeout: float = 900.0
    """Seconds without any sign of any worker (one that comes up, or a batch that is done) after which the run stops; what
    was done stays."""

    def __post_init__(self) -> None:
        if self.workers < 0 or self.worker_cpus < 1 or not 0 <= self.worker_gpus < float("inf"):
            raise ConfigError(
                f"workers={self.workers}, worker_cpus={self.worker_cpus}, worker_gpus={self.worker_gpus}; expected at "
                "least 0, 1 and 0"
            )
        if not 0 < self.worker_timeout < float("inf"):
            raise ConfigError(f"worker_timeout={self.worker_timeout}; expected seconds above 0")

"""Counters in Prometheus' format; with several workers, the sum of all."""

import os
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """What is counted; every image that is sent ends in one `outcome`: answered, unreadable, rejected, expired,
    cancelled or failed."""

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.requests = Counter(
            "striate_requests", "requests by route and status", ["route", "status"], registry=r
        )
        self.seconds = Histogram(
            "striate_request_seconds", "time to answer", ["route"], buckets=SECONDS, registry=r
        )
        self.images = Counter("striate_images", "images by outcome", ["model", "outcome"], registry=r)
        self.batches = Histogram(
            "striate_batch_images", "images in a batch", ["model"], buckets=IMAGES, registry=r
        )
        self.forward = Histogram(
            "striate_batch_seconds", "time of a batch", ["model"], buckets=SECONDS, registry=r
        )
        self.failed_reloads = Counter(
            "striate_failed_reloads", "files that were no good", ["model"], registry=r
        )
        self.waiting = Gauge(
            "striate_images_waiting",
            "images admitted, not answered",
            ["model"],
            registry=r,
            multiprocess_mode="livesum",
        )

    def batch(self, model: str) -> Callable[[int, float], None]:
        """What a batcher calls after each batch."""
        size, time = self.batches.labels(model), self.forward.labels(model)

        def observe(images: int, seconds: float) -> None:
            size.observe(images)
            time.observe(seconds)

        return observe

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
            return generate_latest(registry)
        return generate_latest(self.registry)


def forget(pid: int) -> None:
    """A worker that died has no images that wait; what it counted stays."""
    multiprocess.mark_process_dead(pid)

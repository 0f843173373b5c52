"""The show's numbers for Prometheus, at http://HOST:PORT/metrics; off unless `--metrics-port` asks for it.

The work is done by prometheus-client (Apache-2.0), an optional extra: pip install "attentionbender[metrics]". Every
scrape reads the status once; nothing is counted in between.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from instrument.addresses import wrong_host
from pipelines.refusal import Refusal

GAUGES = {  # name -> (key of the status, what it is)
    "bender_fps_made": ("fps", "frames a second that the engine makes"),
    "bender_fps_sent": ("fps_sent", "frames a second that leave"),
    "bender_step_milliseconds": ("step_ms", "one denoising step"),
    "bender_chunk_milliseconds": ("chunk_ms", "one chunk"),
    "bender_latency_p50_milliseconds": ("latency_ms", "knob to frame, median of the recent ones"),
    "bender_latency_p95_milliseconds": ("latency_p95_ms", "knob to frame, 95th percentile of the recent ones"),
    "bender_jitter_p95_milliseconds": ("jitter_ms", "how far steps between frames are from even, 95th percentile"),
}
OUTPUTS = {  # name -> (key of an output's numbers, what it is)
    "bender_output_frames_sent": ("sent", "frames that left by this output"),
    "bender_output_frames_dropped": ("dropped", "frames that this output did not take in time"),
    "bender_output_errors": ("errors", "failures of this output"),
}


class MetricsError(Refusal, RuntimeError):
    """The endpoint cannot be opened; the text says what would help."""


class Endpoint:
    """Serves until `close`. Raises MetricsError where the package is missing or the port taken."""

    def __init__(self, host: str, port: int, status: Callable[[], dict[str, Any]]) -> None:
        try:
            self._client = importlib.import_module("prometheus_client")
            core = importlib.import_module("prometheus_client.core")
        except ImportError as problem:
            remedy = 'pip install "attentionbender[metrics]"'
            raise MetricsError(f"--metrics-port: prometheus-client is missing ({problem}); {remedy}") from None
        self._core, self._status = core, status
        registry = self._client.CollectorRegistry(auto_describe=False)
        registry.register(self)
        try:
            self._server, self._thread = self._client.start_http_server(port, host, registry)
        except OSError as problem:
            wrong = wrong_host(host, problem)
            words = wrong or f"{problem.strerror or problem}; give another, or 0 for any free one"
            raise MetricsError(f"--metrics-port {port}: {words}") from None
        self.port: int = self._server.server_port

    def collect(self) -> Iterator[Any]:
        """Every number as it is now."""
        status = self._status()
        for name, (key, doc) in GAUGES.items():
            if status[key] is not None:
                yield self._core.GaugeMetricFamily(name, doc, value=status[key])
        yield self._core.CounterMetricFamily("bender_chunks", "chunks made", value=status["chunks"])
        yield self._core.GaugeMetricFamily("bender_warnings", "what the player is warned of", len(status["warnings"]))
        yield self._core.GaugeMetricFamily("bender_muted_bends", "bends muted by the guard", len(status["muted"]))
        for name, (key, doc) in OUTPUTS.items():
            family = self._core.CounterMetricFamily(name, doc, labels=["output", "place"])
            for place, output in enumerate(status["outputs"], 1):
                family.add_metric([output["name"], str(place)], output[key])
            yield family

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

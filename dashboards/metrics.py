"""`/metrics` for Prometheus: numbers only. Seen from this machine, or from elsewhere with the token of the settings."""

import ipaddress
import secrets
import time
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException

from vault.store.metrics import Numbers, read_numbers

# field of Numbers -> name, what it says, labels
FAMILIES = {
    "pages": ("facewarden_pages", "Addresses of the frontier.", ("kind", "state")),
    "listings": ("facewarden_listings", "Listings by what became of them.", ("state",)),
    "samples": ("facewarden_samples", "Pictures and archives of listings.", ("kind", "state")),
    "faces": ("facewarden_faces", "Faces found in samples.", ("state", "outcome")),
    "matches": ("facewarden_matches", "Matches with enrolled people.", ("band", "held")),
    "alerts": ("facewarden_alerts", "Alerts, one a person and dataset.", ("state",)),
    "queue": ("facewarden_queue", "Rows that wait for a step.", ("step",)),
    "refused": ("facewarden_refused", "Pages and samples that ended in a code.", ("code",)),
    "formats": ("facewarden_formats_not_read", "Pictures refused for a format that is not read.", ("format",)),
    "passed_over": ("facewarden_passed_over", "Files beside samples that are none.", ("source",)),
    "health": ("facewarden_source_health", "How a source is: 1 for the state that it is in.", ("source", "health")),
    "crawled": ("facewarden_source_crawled_timestamp_seconds", "When a source was last crawled whole.", ("source",)),
}
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def show_metrics(request: Request) -> Response:
    if not may_read(request):
        raise HTTPException(404)
    started = time.perf_counter()
    with request.app.state.pool.connection() as conn:
        numbers = read_numbers(conn)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once(numbers, time.perf_counter() - started))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def may_read(request: Request) -> bool:
    """The token, or somebody on this machine who came neither through a proxy nor by our public name."""
    token = request.app.state.settings.web.metrics_token
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token and secrets.compare_digest(given.encode(), token.encode()):
        return True
    passed_on = any(name in request.headers for name in FORWARDED)
    named = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    return not passed_on and is_loopback(named) and request.client is not None and is_loopback(request.client.host)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Once(Collector):
    """The numbers of one answer."""

    def __init__(self, numbers: Numbers, seconds: float) -> None:
        self._numbers, self._seconds = numbers, seconds

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for field, (name, text, labels) in FAMILIES.items():
            family = GaugeMetricFamily(name, text, labels=labels)
            for values, number in sorted(getattr(self._numbers, field).items()):
                family.add_metric(values, number)
            yield family
        for name, text, number in (
            ("facewarden_samples_truncated", "Pictures whose file ends early.", self._numbers.truncated),
            ("facewarden_faces_left_out", "Faces beyond those looked at in one picture.", self._numbers.faces_left_out),
        ):
            yield GaugeMetricFamily(name, text, value=number)
        yield GaugeMetricFamily("facewarden_blobs", "Encrypted files that are kept.", value=self._numbers.blobs)
        yield GaugeMetricFamily("facewarden_blob_bytes", "Bytes of what is in them.", value=self._numbers.blob_bytes)
        yield GaugeMetricFamily("facewarden_scrape_seconds", "How long it took to count all this.", value=self._seconds)

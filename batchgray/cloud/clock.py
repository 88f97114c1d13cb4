"""How far this machine's clock is from a service's: requests that are off by 15 minutes are refused."""

import http.client
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from batchgray.cloud.request_limit import RequestLimit, TooSlow
from batchgray.findings import Finding

_MOST_SECONDS = 60
_ANSWER_SECONDS = 5.0


def compare_clock(endpoint: str, what: str = "clock") -> Finding:
    """Asks the service for the time, without credentials."""
    try:
        apart = abs(_servers_time(endpoint) - time.time())
    except (OSError, http.client.HTTPException, ValueError, TooSlow) as error:
        detail = f"can't be compared: {type(error).__name__}"
        return Finding(what=what, verdict="note", detail=detail, remedy="check the endpoint and the network")
    detail = f"{apart:.0f} s from the server's"
    if apart < _MOST_SECONDS:
        return Finding(what=what, verdict="fine", detail=detail)
    remedy = "set the clock; requests off by 15 minutes are refused"
    return Finding(what=what, verdict="wrong", detail=detail, remedy=remedy)


def _servers_time(endpoint: str) -> float:
    """In seconds since the epoch."""
    parts = urlsplit(endpoint)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_ANSWER_SECONDS)
    try:
        with RequestLimit(connection).within(_ANSWER_SECONDS):
            connection.request("GET", "/")
            date = connection.getresponse().getheader("Date")
    finally:
        connection.close()
    return parsedate_to_datetime(date or "").timestamp()

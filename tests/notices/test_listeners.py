"""Which listeners a run has: signals always, a service only where it is asked for or configured."""

import pytest

from batchgray import errors
from batchgray.cloud import instance
from batchgray.cloud.instance import METADATA_URL
from batchgray.notices.listeners import NoticeOptions, choose_listeners

SIGNALS, QUEUE, METADATA = "signals", "queue spot-interruption", "instance metadata"


@pytest.fixture(params=[False, True], ids=["elsewhere", "on the cloud"])
def on_cloud(request, monkeypatch):
    monkeypatch.setattr(instance, "on_alibaba_cloud", lambda: request.param)
    return request.param


def chosen(**options):
    return [listener.name for listener in choose_listeners(NoticeOptions(**options), lambda: None)]


@pytest.mark.parametrize(
    ("notices", "names"),
    [
        ("none", [SIGNALS]),
        ("smq", [SIGNALS, QUEUE]),
        ("metadata", [SIGNALS, METADATA]),
        ("smq,metadata", [SIGNALS, QUEUE, METADATA]),
    ],
)
def test_what_is_asked_for_listens_wherever_this_runs(on_cloud, notices, names):
    assert chosen(notices=notices, endpoint="http://q") == names


def test_what_is_not_asked_for_listens_where_it_is_configured(on_cloud):
    metadata = [METADATA] if on_cloud else []
    assert chosen() == [SIGNALS, *metadata]
    assert chosen(endpoint="http://q") == [SIGNALS, QUEUE, *metadata]
    assert chosen(metadata_url="http://h") == [SIGNALS, METADATA]


def test_the_usual_metadata_service_is_asked_only_on_the_cloud(on_cloud):
    assert NoticeOptions().known_metadata_url == (METADATA_URL if on_cloud else None)
    assert NoticeOptions(metadata_url="http://h").known_metadata_url == "http://h"


@pytest.mark.parametrize("required", [False, True])
def test_the_queue_gets_the_options_and_whether_it_was_asked_for_by_name(on_cloud, required):
    options = NoticeOptions(queue="q", endpoint="http://q", instance_id="i", any_instance=True, metadata_url="http://h")
    smq = options.smq(required)
    assert (smq.queue, smq.endpoint, smq.instance_id, smq.any_instance) == ("q", "http://q", "i", True)
    assert (smq.metadata_url, smq.required) == ("http://h", required)


def test_an_address_that_is_none_is_refused():
    with pytest.raises(errors.BadMetadataUrl):
        NoticeOptions(metadata_url="ftp://h")

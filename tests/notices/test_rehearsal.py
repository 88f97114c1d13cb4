"""Making the queue and sending it an event: what is missing, or refused, is told as the options' fault."""

import pytest

from batchgray import errors
from batchgray.cloud import instance
from batchgray.cloud.instance import Credentials
from batchgray.notices.listeners import NoticeOptions
from batchgray.notices.rehearsal import create_queue, simulate
from batchgray.notices.spot_event import parse

KEY = Credentials(key_id="local", secret="local", origin="the test")


@pytest.fixture
def server(smq_local):
    with smq_local.LocalSMQ(instance_id="i-mine", role="reader") as server:
        yield server


@pytest.mark.filterwarnings("ignore:.*_messages.*:DeprecationWarning")  # the SDK, of a queue's counts of messages
def test_the_event_that_is_sent_is_the_instances(server):
    options = NoticeOptions(queue="q", endpoint=server.endpoint, credentials=KEY)
    assert [create_queue(options), create_queue(options)] == [True, False]
    message_id = simulate(options, "i-mine")
    (message,) = server.messages("q")
    assert (message.message_id, parse(message.body).instance_id) == (message_id, "i-mine")


def test_without_credentials_the_instances_role_is_used(server):
    assert create_queue(NoticeOptions(queue="q", endpoint=server.endpoint, metadata_url=server.metadata_url))


def test_what_is_missing_is_named(server, monkeypatch):
    monkeypatch.setattr(instance, "on_alibaba_cloud", lambda: False)
    with pytest.raises(errors.IncompleteSmq, match="MNS_ENDPOINT"):
        create_queue(NoticeOptions(credentials=KEY))
    with pytest.raises(errors.IncompleteSmq, match="ALIBABA_CLOUD_ACCESS_KEY_ID"):
        create_queue(NoticeOptions(endpoint=server.endpoint))


@pytest.mark.parametrize("endpoint", ["nonsense", "http://127.0.0.1:9"])
def test_an_endpoint_that_can_not_be_reached_is_a_usage_error(endpoint):
    with pytest.raises(errors.QueueUnreachable, match=endpoint):
        simulate(NoticeOptions(endpoint=endpoint, credentials=KEY), "i-mine")


def test_a_queue_that_is_missing_is_one_too(server):
    with pytest.raises(errors.QueueMissing, match="nowhere"):
        simulate(NoticeOptions(queue="nowhere", endpoint=server.endpoint, credentials=KEY), "i-mine")

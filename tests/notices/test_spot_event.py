"""The parser of interruption events: two documented shapes, anything else by name, and nothing makes it fall over."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.notices import spot_event
from batchgray.notices.spot_event import SpotEvent, Unreadable, parse

PUSHED = {
    "ver": "1.0",
    "id": "2256A988-0B26-4E2B-820A-8A00000000E5",
    "product": "ECS",
    "resourceId": "acs:ecs:cn-hangzhou:1690000000000030:instance/i-bp1ecr00000005go2go",
    "level": "INFO",
    "name": "Instance:PreemptibleInstanceInterruption",
    "userId": "1690000000000030",
    "eventTime": "20190409T121826.922+0800",
    "regionId": "cn-hangzhou",
    "content": {"instanceId": "i-bp1ecr00000005go2go", "action": "delete"},
}
DEBUG = {
    "product": "ECS",
    "resourceId": "acs:ecs:cn-shanghai:1690000000000030UID:instance/i-x",
    "level": "WARN",
    "name": "Instance:PreemptibleInstanceInterruption",
    "content": {"instanceId": "i-x", "instanceName": "worker", "action": "delete"},
    "status": "Normal",
}


def encoded(document) -> list[str]:
    text = json.dumps(document)
    return [text, base64.b64encode(text.encode()).decode()]


@pytest.mark.parametrize("body", encoded(PUSHED))
def test_the_pushed_shape(body):
    assert parse(body) == SpotEvent(
        instance_id="i-bp1ecr00000005go2go",
        event_id="2256A988-0B26-4E2B-820A-8A00000000E5",
        event_time=datetime(2019, 4, 9, 4, 18, 26, 922000, UTC),
    )


@pytest.mark.parametrize("body", encoded(DEBUG))
def test_the_debug_shape_has_neither_id_nor_time(body):
    assert parse(body) == SpotEvent(instance_id="i-x", event_id=None, event_time=None)


def test_what_simulate_sends_is_the_debug_shape():
    assert parse(spot_event.simulated("i-mine", "cn-hangzhou").decode()) == SpotEvent(
        instance_id="i-mine", event_id=None, event_time=None
    )


@pytest.mark.parametrize("content", [{}, {"action": "delete"}, None, "text", 7])
def test_the_instance_is_found_in_the_resource_id_too(content):
    assert parse(json.dumps(DEBUG | {"content": content})).instance_id == "i-x"


@pytest.mark.parametrize("name", ["Instance:StateChange", "Instance:SystemMaintenance.Reboot:Scheduled", "", None, 5])
def test_other_events_are_none_of_ours(name):
    assert parse(json.dumps(PUSHED | {"name": name})) is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "aGVsbG8=",
        "[1]",
        '"text"',
        "{",
        "{}x",
        json.dumps({"name": spot_event.NAME}),
        "[" * 100_000,
        json.dumps(PUSHED | {"content": {"instanceId": 5}, "resourceId": 7}),
    ],
)
def test_what_is_no_event_is_unreadable(body):
    with pytest.raises(Unreadable):
        parse(body)


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=3)


OBJECTS = st.dictionaries(st.sampled_from([*PUSHED, "other"]), JSON)


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.text(),
        st.binary().map(lambda data: base64.b64encode(data).decode()),
        JSON.map(json.dumps),
        OBJECTS.map(json.dumps),
        OBJECTS.map(lambda document: base64.b64encode(json.dumps(document).encode()).decode()),
        OBJECTS.map(lambda document: json.dumps(document | {"name": spot_event.NAME})),
    )
)
def test_no_body_makes_it_fall_over_or_be_taken_for_what_it_is_not(body):
    try:
        found = parse(body)
    except Unreadable:
        return
    document = read_otherwise(body)
    assert isinstance(document, dict)
    assert (found is not None) == (document.get("name") == spot_event.NAME)
    if found is not None:
        assert str(document.get("resourceId")).endswith(found.instance_id), "no content here has an instance"


def read_otherwise(body):
    """A body with the standard library alone."""
    try:
        return json.loads(body)
    except ValueError:
        return json.loads(base64.b64decode(body, validate=True))


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from([*PUSHED, "other"]), JSON), st.booleans())
def test_no_field_of_the_wrong_type_makes_it_fall_over(fields, ours):
    document = PUSHED | fields | ({"name": spot_event.NAME} if ours else {})
    try:
        found = parse(json.dumps(document))
    except Unreadable:
        return
    assert (found is not None) == (document["name"] == spot_event.NAME)


@pytest.mark.parametrize("text", ["yesterday", "20190409", "99999999T999999.000+0800", "", None, 5])
def test_a_time_that_is_none_is_no_time(text):
    assert parse(json.dumps(PUSHED | {"eventTime": text})).event_time is None


NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "left"),
    [
        (timedelta(minutes=1), timedelta(minutes=4)),
        (timedelta(0), timedelta(minutes=5)),
        (None, timedelta(minutes=5)),
        (timedelta(minutes=20), timedelta(minutes=5)),  # one of the clocks is wrong
        (timedelta(minutes=-20), timedelta(minutes=5)),
        (NOW - datetime.max.replace(tzinfo=UTC), timedelta(minutes=5)),
        (NOW - datetime.min.replace(tzinfo=UTC), timedelta(minutes=5)),
    ],
)
def test_the_deadline_is_five_minutes_from_the_event_unless_the_clocks_disagree(ago, left):
    found = SpotEvent(instance_id="i", event_id=None, event_time=None if ago is None else NOW - ago)
    assert found.deadline(NOW) == NOW + left

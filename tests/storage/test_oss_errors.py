"""What OSS's refusals mean, where the local server can't give them."""

import pytest

from batchgray.storage.base import BadKey, Busy, Denied, LockedOut, Missing, NoPlace, Unreachable
from batchgray.storage.oss_errors import Bucket, Refusal, meaning_of

BUCKET = Bucket(name="photos", endpoint="https://oss-cn-hangzhou.aliyuncs.com", region="cn-hangzhou")


def meaning(**refusal):
    return meaning_of(Refusal(**{"status": 403, "code": "AccessDenied", **refusal}), "a.jpg", "oss:PutObject", BUCKET)


def test_a_bucket_that_is_elsewhere_is_told_with_where():
    fields = {"Endpoint": "oss-cn-beijing.aliyuncs.com", "Bucket": "photos"}
    error = meaning(message="The bucket must be addressed using the specified endpoint.", fields=fields)
    assert isinstance(error, NoPlace)
    assert "oss-cn-beijing.aliyuncs.com" in str(error)
    assert "OSS_ENDPOINT" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", Denied),
        (403, "UserDisable", LockedOut),
        (403, "BucketDisable", LockedOut),
        (403, "SomethingNew", Denied),
        (404, "SomethingNew", Missing),
        (400, "SomethingNew", Unreachable),
        (403, "InvalidObjectState", BadKey),
        (429, "SomethingNew", Busy),
        (503, "SomethingNew", Busy),
        (500, "InternalError", Unreachable),
        (502, "BadErrorResponse", Unreachable),
    ],
)
def test_kinds(status, code, kind):
    error = meaning(status=status, code=code, message="some words\x1b[31m")
    assert type(error) is kind
    assert "\x1b" not in str(error)


def test_only_what_may_pass_is_tried_again():
    assert Refusal(status=503, code="SlowDown").may_pass
    assert Refusal(status=429, code="").may_pass
    assert not Refusal(status=403, code="RequestTimeTooSkewed").may_pass
    assert not Refusal(status=404, code="NoSuchKey").may_pass


def test_a_clock_of_which_nothing_is_told_is_off_all_the_same():
    assert "more than 15 minutes off" in str(meaning(code="RequestTimeTooSkewed"))

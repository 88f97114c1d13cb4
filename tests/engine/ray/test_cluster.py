"""What Ray's failure to connect means: with the exceptions of Ray's that were seen, and without Ray."""

import pytest

from batchgray import errors
from batchgray.engine.ray import cluster


class AuthenticationError(Exception):
    """As Ray's is called, and what it has."""

    def __init__(self, message):
        super().__init__(message)
        self.message = message

    def __str__(self):
        return f"{self.message}. Ensure that the token for the cluster is available, and much more."


def test_ray_that_finds_no_token_is_told_in_its_first_words():
    reason = "Token authentication is enabled but no authentication token was found"
    with pytest.raises(errors.RayTokenUnfit) as caught:
        cluster._refuse_without_token("h:6379", AuthenticationError(reason))
    assert caught.value.args == ("h:6379", reason)


@pytest.mark.parametrize(
    ("mode", "why"), [("", "RAY_AUTH_MODE is not token here"), ("TOKEN", "it refuses the one that is set here")]
)
def test_a_cluster_that_answers_nobody_without_a_token_is_asked_by_the_address_that_ray_found(monkeypatch, mode, why):
    asked = []
    monkeypatch.setattr(cluster, "_wants_token", lambda address: not asked.append(address))
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(errors.RayTokenUnfit) as caught:
        cluster._refuse_without_token("auto", ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"))
    assert asked == ["10.0.0.1:6379"]
    assert caught.value.args == ("auto", why)


def test_another_failure_is_none_of_the_token(monkeypatch):
    monkeypatch.setattr(cluster, "_wants_token", lambda address: False)
    cluster._refuse_without_token("h:6379", ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"))
    cluster._refuse_without_token("h:6379", RuntimeError("the version differs"))

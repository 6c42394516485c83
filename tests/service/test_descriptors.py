"""The limit of open files: said when it is too low, raised when the process is ours."""

import resource

import pytest
from leanmesh.service.descriptors import DESCRIPTORS_MARGIN, descriptor_shortage, raise_descriptor_limit


def test_a_limit_that_suffices_is_not_mentioned(monkeypatch: pytest.MonkeyPatch):
    for soft in (100 + DESCRIPTORS_MARGIN, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, resource.RLIM_INFINITY))
        assert descriptor_shortage(100) is None


def test_a_limit_that_is_too_low_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100 + DESCRIPTORS_MARGIN - 1, 4096))
    said = descriptor_shortage(100)
    assert said is not None
    for part in (
        "163 files",
        "100 connections need 164",
        "ulimit -n 164",
        "LimitNOFILE=164",
        "connections_limit",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (1024, 4096, (4096, 4096)),
        (1024, 1 << 20, (65536, 1 << 20)),
        (1024, resource.RLIM_INFINITY, (65536, resource.RLIM_INFINITY)),
        (65536, 1 << 20, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_the_soft_limit_is_raised_towards_the_hard_one(monkeypatch: pytest.MonkeyPatch, soft, hard, raised):
    calls = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    raise_descriptor_limit()
    assert calls == ([] if raised is None else [raised])

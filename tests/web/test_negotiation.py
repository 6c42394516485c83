"""Accept headers as clients really send them, and as nobody should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leanmesh.web.negotiation import wants_gzip, wants_openmetrics

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text", True),
        ("APPLICATION/OpenMetrics-Text; Version=1.0.0", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.4", True),
        ("application/openmetrics-text,text/plain", False),
        ("application/openmetrics-text,*/*", True),
        ("application/*", True),
        ("application/*,text/plain;q=0.9", True),
        ("application/openmetrics-text;q=0.1,application/*,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=high", False),
        ("application/openmetrics-text;q=nan", False),
        ("application/openmetrics-text;q=2", False),
        ('application/openmetrics-text;version="1.0.0"', True),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
    ],
)
def test_openmetrics_is_sent_to_who_prefers_it(accept: str, is_openmetrics: bool):
    assert wants_openmetrics(accept) is is_openmetrics


@pytest.mark.parametrize(
    ("accept_encoding", "is_gzip"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("gzip;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("gzip, identity;q=0.5", True),
        ("deflate, br", False),
        ("*", True),
        ("*, gzip;q=0", False),
        ("identity", False),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
    ],
)
def test_gzip_is_sent_to_who_accepts_it(accept_encoding: str, is_gzip: bool):
    assert wants_gzip(accept_encoding) is is_gzip


@given(st.text())
def test_no_header_is_an_error(header: str):
    assert wants_openmetrics(header) in {True, False}
    assert wants_gzip(header) in {True, False}

"""Pauses: longer each time, and begun anew after a good run."""

from leanmesh.service.pauses import Pauses


def test_pauses_double_up_to_their_limit_and_begin_anew_after_a_good_run():
    pauses = Pauses(1.0, 5.0, 60.0)
    assert [pauses.next_s(ran_s) for ran_s in (None, 0.0, 59.9, 0.0)] == [1.0, 2.0, 4.0, 5.0]
    assert [pauses.next_s(ran_s) for ran_s in (60.0, None, 3600.0, 60.0)] == [1.0, 2.0, 1.0, 1.0]


def test_what_did_not_run_did_not_run_well():
    pauses = Pauses(1.0, 8.0, 0.0)
    assert [pauses.next_s(ran_s) for ran_s in (None, None, 0.0, None)] == [1.0, 2.0, 1.0, 2.0]


def test_a_first_pause_of_more_than_the_limit_is_the_limit():
    assert Pauses(9.0, 5.0, 60.0).next_s(None) == 5.0


def test_without_a_first_pause_there_is_none():
    pauses = Pauses(0.0, 5.0, 60.0)
    assert [pauses.next_s(None) for _ in range(3)] == [0.0, 0.0, 0.0]

"""Signals: what is finished, what is abandoned, and that nothing is lost either way."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from trainers import stopping
from trainers.stopping import Abandoned, StopRequest


def send(number):
    os.kill(os.getpid(), number)


def test_the_first_ctrl_c_asks_and_says_so_the_second_abandons():
    before = signal.getsignal(signal.SIGINT)
    said, heard = [], threading.Event()

    def say(sentence):
        said.append(sentence)
        heard.set()

    def update():
        with stop.abandonable():
            send(signal.SIGINT)
            assert (stop.signal, stop.abandoned) == ("SIGINT", False)
            assert heard.wait(10)
            send(signal.SIGINT)

    with StopRequest(say) as stop:
        stop.seconds_left = lambda: 12.3
        with pytest.raises(Abandoned):
            update()
        assert stop.abandoned
        stop.shield()
    assert "finished first, in about 12 s" in said[0]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_abandon_at_once(number):
    with StopRequest() as stop, pytest.raises(Abandoned), stop.abandonable():
        send(number)
    assert stop.signal == number.name


def test_a_signal_that_is_ignored_stays_so():
    """As under nohup, whose runs outlive their terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop, stop.abandonable():
            send(signal.SIGHUP)
        assert stop.signal is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_must_be_whole_is_finished_and_what_follows_does_not_begin():
    with StopRequest() as stop:
        send(signal.SIGTERM)  # outside of `abandonable`, such as amid the writing of a checkpoint
        assert stop.abandoned
        with pytest.raises(Abandoned), stop.abandonable():
            pytest.fail("began")
        stop.shield()
        with stop.abandonable():
            send(signal.SIGTERM)  # while it leaves


def test_where_nothing_is_lost_the_first_ctrl_c_abandons():
    with StopRequest() as stop, pytest.raises(Abandoned), stop.abandonable(), stop.abandonable(at_once=True):
        send(signal.SIGINT)


def test_an_abandonment_that_was_swallowed_comes_again(monkeypatch):
    monkeypatch.setattr(stopping, "AGAIN_S", 0.02)

    def update():
        with stop.abandonable():
            try:
                send(signal.SIGTERM)
            except BaseException:  # a user's environment may have such a line
                swallowed = time.monotonic()
            while time.monotonic() < swallowed + 10:
                time.sleep(0.01)

    with StopRequest() as stop:
        with pytest.raises(Abandoned):
            update()
        stop.shield()


def test_an_abandonment_that_a_library_turns_into_an_error_of_its_own_is_one():
    def update():
        with stop.abandonable():
            try:
                send(signal.SIGTERM)
            except BaseException as error:
                raise SystemError("returned a result with an exception set") from error

    with StopRequest() as stop:
        with pytest.raises(Abandoned):
            update()
        stop.shield()


def test_handlers_that_somebody_replaces_are_put_back():
    with StopRequest() as stop:
        with stop.kept():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with pytest.raises(Abandoned), stop.abandonable():
            send(signal.SIGTERM)


def test_another_thread_installs_nothing_and_is_stopped_by_request():
    before, found = signal.getsignal(signal.SIGINT), []

    def run():
        with StopRequest() as stop:
            found.append(signal.getsignal(signal.SIGINT))
            stop.request("callback")
            found.append(stop.signal)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before, "callback"]

"""Signals: the first asks for a clean end, a second Ctrl-C does not wait for it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Says when it runs, and needs for its end as long as the second argument says.
SERVICE = """
import sys, trio
from leanmesh.cli.lifetime import MainPart, run_until_stopped

async def service():
    print("running", flush=True)
    try:
        await trio.sleep(float(sys.argv[1]))
    finally:
        print("ending", flush=True)
        with trio.move_on_after(float(sys.argv[2]), shield=True):
            await trio.sleep_forever()
    print("done", flush=True)

trio.run(run_until_stopped, service, MainPart())
print("ended", flush=True)
"""
# Goes as late as anything in Python, when handlers of signals have been given back.
LAST = """
import os
class Last:
    def __del__(self, kill=os.kill, own=os.getpid(), number=int(sys.argv[3])):
        kill(own, number)
sys.last = Last()
"""


@contextmanager
def service(runs_s: float, ends_s: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SERVICE, str(runs_s), str(ends_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "running\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_the_service_and_is_a_success(number: signal.Signals):
    with service(60, 0) as process:
        process.send_signal(number)
        assert process.stdout.read() == "ending\nended\n"
        assert process.wait(timeout=30) == 0


def test_a_service_that_ends_by_itself_is_a_success():
    with service(0, 0) as process:
        assert process.stdout.read() == "ending\ndone\nended\n"
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_does_not_wait(first: signal.Signals):
    with service(60, 60) as process:
        process.send_signal(first)
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_later_request_to_terminate_leaves_the_clean_end_alone(first: signal.Signals):
    with service(60, 1) as process:
        process.send_signal(first)
        assert process.stdout.readline() == "ending\n"
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "ended\n"
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_interpreter_ends_changes_nothing(number: signal.Signals):
    command = [sys.executable, "-c", SERVICE + LAST, "0", "0", str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "running\nending\ndone\nended\n", "")

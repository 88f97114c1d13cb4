"""SIGTERM in a worker, in a process of its own: heard between two tiles, and inside a decoder that hears nothing."""

import signal
import subprocess
import sys

import pytest
from harness import DEADLINE

BEGIN = """
import ctypes
import os
import signal
import sys
import threading
import time
from batchgray.workers.interrupt import Interrupt, Interrupted

interrupt = Interrupt()

def finish():
    print("finished files are durable", flush=True)

def listen():
    threading.Thread(target=interrupt.end_while_decoding, args=[finish], daemon=True).start()

def decode():
    # Waits for ever, in a call that no signal ends, as a decoder: a lock that is taken twice.
    lock = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None)
    libc.pthread_mutex_lock(lock)
    print("decoding", flush=True)
    libc.pthread_mutex_lock(lock)
"""


def begun(code):
    arguments = [sys.executable, "-c", BEGIN + code]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    try:
        return process.communicate(timeout=DEADLINE)
    finally:
        process.kill()


def test_sigterm_in_a_decoder_ends_the_process_without_waiting_for_it_and_with_its_finished_files():
    """The decoder may take longer than the grace, and the finished files are others' work of minutes."""
    process = begun("listen()\nwith interrupt.ending_at_once():\n    decode()\n")
    assert process.stdout.readline() == "decoding\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == ("finished files are durable\n", "")
    assert process.returncode == 0


def test_sigterm_before_a_decoder_keeps_it_from_beginning():
    code = """
os.kill(os.getpid(), signal.SIGTERM)
try:
    with interrupt.ending_at_once():
        print("begun")
except Interrupted:
    print("interrupted")
"""
    assert ended(begun(code)) == ("interrupted\n", "")


def test_sigterm_outside_a_decoder_ends_nothing_by_itself():
    """A tile is being computed, or a file encoded: that is finished first."""
    code = """
with interrupt.ending_at_once():
    pass
asked = threading.Event()
interrupt._deciding = Asked = type("Asked", (), {
    "__enter__": lambda self: None, "__exit__": lambda self, *_: asked.set(),
})()
listen()
os.kill(os.getpid(), signal.SIGTERM)
asked.wait()
print("heard" if interrupt.heard else "deaf", flush=True)
try:
    interrupt.check()
except Interrupted:
    print("interrupted")
"""
    assert ended(begun(code)) == ("heard\ninterrupted\n", "")


@pytest.mark.parametrize("first", ["signal", "message"])
def test_sigterm_comes_before_a_message_that_waits(first):
    """Else a worker would begin another image, with the machine about to go."""
    code = f"""
from multiprocessing import Pipe
from batchgray.workers.messages import Channel, Idle
ours, theirs = Pipe()
if "{first}" == "signal":
    os.kill(os.getpid(), signal.SIGTERM)
Channel(theirs, Idle).send(Idle(chunks=1))
if "{first}" == "message":
    os.kill(os.getpid(), signal.SIGTERM)
try:
    interrupt.receive(Channel(ours, Idle))
except Interrupted:
    print("interrupted")
"""
    assert ended(begun(code)) == ("interrupted\n", "")


def test_sigterm_that_the_fork_server_held_back_is_heard():
    code = """
import subprocess
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.kill(os.getpid(), signal.SIGTERM)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
print(Interrupt().heard)
"""
    assert ended(begun(code)) == ("True\n", "")

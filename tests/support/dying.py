"""A script that is ended without mercy at some flush to the disk: the number FLUSHES in its environment."""

DYING = """
import os, signal, sys

left = int(os.environ["FLUSHES"])
flush = os.fsync

def flush_or_die(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)

os.fsync = flush_or_die
"""

#!/usr/bin/env python3
"""A client of the ledger that shares no code with the server: what it does between its FIN and its close.

parting.py stopped PORT            claims, says "claimed", and stops itself; once it goes on it reads the reply, and says
                                   the grand total
parting.py crowd PORT COUNT        COUNT claims on connections of their own, all at once; says how many were answered
                                   with "ok", and the longest time that one took, in milliseconds

It ends with 0 only if every line came back, and a reply that fits behind them.
"""

import os
import re
import secrets
import signal
import socket
import sys
import time

PATIENCE_S = 30.0
LINES = b"a\nb\n"
REPLY = re.compile(rb"!disconnect status=ok seen=2 grand_total=(\d+) boot=[0-9a-f]{32}\n")


def claim(port):
    """A connection that has sent its lines, its claim and its FIN."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    connection.sendall(LINES + b"!disconnect total=2 session=%s\n" % secrets.token_hex(16).encode())
    connection.shutdown(socket.SHUT_WR)
    return connection


def answer(connection):
    """The grand total that it is told."""
    heard = b""
    while taken := connection.recv(65536):
        heard += taken
    reply = REPLY.fullmatch(heard[len(LINES):])
    if not heard.startswith(LINES) or not reply:
        raise ConnectionError(f"it heard {heard!r}")
    return int(reply[1])


def stopped(port):
    connection = claim(port)
    print("claimed", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    print(answer(connection), flush=True)


def crowd(port, count):
    began = time.monotonic()
    connections = [claim(port) for _ in range(count)]
    totals = [answer(connection) for connection in connections]
    if len(set(totals)) != count:
        raise ConnectionError("two of them were told the same grand total")
    print(count, int((time.monotonic() - began) * 1000), flush=True)


COMMANDS = {"stopped": stopped, "crowd": crowd}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*map(int, sys.argv[2:]))

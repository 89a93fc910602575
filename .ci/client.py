#!/usr/bin/env python3
"""A client that shares no code with the server: it judges from outside how connections end.

client.py endings PORT COUNT AT_ONCE   COUNT proper endings: connect, 64 bytes, echo, half-close, EOF, close
client.py backlog PORT COUNT BYTES     COUNT connections with BYTES and a FIN each, before a byte is read; says
                                       "queued" then, and reads every echo to its EOF
client.py crowd PORT COUNT             COUNT connections that stay open; says how many are "served" once that has
                                       not changed for a while, waits for a line on stdin, and ends them all properly
client.py words PORT COUNT BYTES       COUNT connections, one echo each; says "served", waits for a line on stdin, sends
                                       BYTES more on each, says "sent", reads those, and ends them all properly

It ends with 0 only if every byte came back, in order, with an EOF behind it and nothing else.
"""

import selectors
import socket
import sys
import time

WORD = bytes(range(64))
# The longest time without anything happening.
PATIENCE_S = 30.0
# A crowd that was not served for this long is waiting for places, not for the processor.
QUIET_S = 1.0


class Ending:
    """One connection, from its connect to its close."""

    def __init__(self, port):
        self.unsent = WORD
        self.echo = b""
        self.half_closed = False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))

    def send(self):
        """Sends what is left; says whether that is all."""
        self.unsent = self.unsent[self.socket.send(self.unsent):]
        return not self.unsent

    def half_close(self):
        self.half_closed = True
        self.socket.shutdown(socket.SHUT_WR)

    def receive(self):
        """Receives what is there; says whether that was the EOF, which closes the connection."""
        taken = self.socket.recv(65536)
        self.echo += taken
        if taken:
            return False
        check(self.echo, WORD)
        if not self.half_closed:
            raise ConnectionError("an EOF that was not asked for")
        self.socket.close()
        return True

    def is_echoed(self):
        return len(self.echo) >= len(WORD)


def check(echo, expected):
    if echo != expected:
        raise ConnectionError(f"{len(echo)} bytes came back before the EOF for {len(expected)}, or changed ones")


def say(line):
    print(line, flush=True)


def endings(port, count, at_once):
    selector = selectors.DefaultSelector()
    begun = ended = 0
    while ended < count:
        while begun < count and begun - ended < at_once:
            ending = Ending(port)
            selector.register(ending.socket, selectors.EVENT_WRITE, ending)
            begun += 1
        ready = selector.select(PATIENCE_S)
        if not ready:
            raise TimeoutError(f"{begun - ended} connections wait, and nothing happens")
        for key, mask in ready:
            ending = key.data
            if mask & selectors.EVENT_WRITE:
                if ending.send():
                    selector.modify(ending.socket, selectors.EVENT_READ, ending)
                continue
            if ending.receive():
                selector.unregister(key.fd)
                ended += 1
            elif ending.is_echoed() and not ending.half_closed:
                ending.half_close()
    say(f"{ended} proper endings")


def backlog(port, count, size):
    payload = (WORD * (size // len(WORD) + 1))[:size]
    queued = []
    for _ in range(count):
        # The kernel alone completes a handshake and takes the bytes: the server may be stopped.
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        connection.sendall(payload)
        connection.shutdown(socket.SHUT_WR)
        queued.append(connection)
    say("queued")
    for connection in queued:
        echo = b""
        while taken := connection.recv(65536):
            echo += taken
        check(echo, payload)
        connection.close()
    say(f"{count} proper endings")


def crowd(port, count):
    selector = selectors.DefaultSelector()
    waiting = [Ending(port) for _ in range(count)]
    for ending in waiting:
        selector.register(ending.socket, selectors.EVENT_WRITE, ending)
    changed = time.monotonic()
    served = 0
    while served < count and time.monotonic() - changed < QUIET_S:
        for key, mask in selector.select(QUIET_S / 10):
            ending = key.data
            changed = time.monotonic()
            if mask & selectors.EVENT_WRITE:
                if ending.send():
                    selector.modify(ending.socket, selectors.EVENT_READ, ending)
            elif not ending.receive() and ending.is_echoed():
                served += 1
    say(f"served {served}")
    sys.stdin.readline()
    for ending in waiting:
        ending.half_close()
    left = count
    while left:
        ready = selector.select(PATIENCE_S)
        if not ready:
            raise TimeoutError(f"{left} connections wait, and nothing happens")
        for key, _ in ready:
            if key.data.receive():
                selector.unregister(key.fd)
                left -= 1
    say(f"{count} proper endings")


def words(port, count, size):
    payload = (WORD * (size // len(WORD) + 1))[:size]
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        connection.sendall(WORD)
        expect(connection, WORD)
        connections.append(connection)
    say("served")
    sys.stdin.readline()
    for connection in connections:
        connection.sendall(payload)
    say("sent")
    for connection in connections:
        expect(connection, payload)
    for connection in connections:
        connection.shutdown(socket.SHUT_WR)
    for connection in connections:
        check(connection.recv(1), b"")
        connection.close()
    say(f"{count} proper endings")


def expect(connection, expected):
    echo = b""
    while len(echo) < len(expected) and (taken := connection.recv(len(expected) - len(echo))):
        echo += taken
    check(echo, expected)


def main():
    commands = {"endings": endings, "backlog": backlog, "crowd": crowd, "words": words}
    command = commands.get(sys.argv[1]) if len(sys.argv) > 2 else None
    if command is None:
        sys.exit(__doc__)
    try:
        command(*map(int, sys.argv[2:]))
    except OSError as error:
        sys.exit(f"client.py: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()

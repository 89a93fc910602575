#!/usr/bin/env python3
"""Holds a generator's shutdown latency against the kernel's own record of the same connections.

truth.py PORT REPORT COMMAND...   runs COMMAND, which writes the file REPORT, while the kernel traces the endings of
                                  every connection that is made to PORT; as root, with tracefs mounted

The tracepoint sock:inet_sock_set_state fires where a socket changes its state, whoever owns it. A client that ends
first goes to FIN_WAIT1 inside of its shutdown(SHUT_WR), and leaves for good when the server's FIN has come, over
FIN_WAIT2 or CLOSING. That last change says CLOSE and not TIME_WAIT: the time of waiting is spent by a smaller socket
of its own, which no tracepoint follows, and the original one is done.

It ends with 0 if p50 and p99 agree, with COMMAND's exit code if that is another, and with 1 otherwise.
"""

import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys

TRACEFS = pathlib.Path("/sys/kernel/tracing")
EVENT = "events/sock/inet_sock_set_state"
# For each processor: 100,000 connections with three changes each, of some 100 bytes.
BUFFER_KB = 32768
# Of the kernel's figure, or in nanoseconds, whichever is more: the clock that is read before the call and the one
# that is read after the last are not the kernel's, and a histogram has three digits.
SHARE = 0.05
SLACK_NS = 10_000

FIN_WAIT1, FIN_WAIT2, CLOSING = 4, 5, 11
CHANGE = re.compile(
    r" (?P<seconds>\d+)\.(?P<micros>\d{6}): inet_sock_set_state: .* sport=(?P<port>\d+) .* saddr=(?P<addr>\S+) "
    r".* oldstate=TCP_(?P<old>\w+) newstate=TCP_(?P<new>\w+)$"
)


class Trace:
    """A trace of its own, beside all others: a buffer, a clock and a filter that nobody else uses."""

    def __init__(self, port):
        self.root = TRACEFS / "instances" / f"finwait-{os.getpid()}"
        self.port = port

    def __enter__(self):
        self.root.mkdir()
        try:
            self.set("trace_clock", "mono")
            self.set("buffer_size_kb", BUFFER_KB)
            leaves = " || ".join(f"oldstate == {state}" for state in (FIN_WAIT1, FIN_WAIT2, CLOSING))
            self.set(f"{EVENT}/filter", f"dport == {self.port} && (newstate == {FIN_WAIT1} || {leaves})")
            self.set(f"{EVENT}/enable", 1)
        except OSError:
            self.root.rmdir()
            raise
        return self

    def __exit__(self, *_):
        self.set(f"{EVENT}/enable", 0)
        self.root.rmdir()

    def set(self, name, value):
        (self.root / name).write_text(str(value))

    def stop(self):
        self.set("tracing_on", 0)

    def lost(self):
        """Events that did not get into the buffer, or not to us."""
        stats = "".join(path.read_text() for path in self.root.glob("per_cpu/cpu*/stats"))
        return sum(map(int, re.findall(r"^(?:overrun|commit overrun|dropped events): (\d+)$", stats, re.MULTILINE)))

    def shutdowns_ns(self):
        """From FIN_WAIT1 to the end of each connection; and how many went into FIN_WAIT1 and did not get there."""
        begun, took = {}, []
        with (self.root / "trace").open() as lines:
            for line in lines:
                if line.startswith("#"):
                    continue
                change = CHANGE.search(line.rstrip("\n"))
                if change is None:
                    sys.exit(f"truth.py: a line of the trace that it does not understand: {line!r}")
                # A port in use belongs to one connection; the lines are in the order of time.
                client = change["addr"], change["port"]
                at_ns = int(change["seconds"]) * 10**9 + int(change["micros"]) * 10**3
                if change["new"] == "FIN_WAIT1":
                    begun[client] = at_ns
                elif change["new"] in ("CLOSE", "TIME_WAIT") and client in begun:
                    took.append(at_ns - begun.pop(client))
        return took, len(begun)


def percentile(ordered, quantile):
    """The smallest value that at least this share of all does not exceed, as HDR histograms have it."""
    return ordered[max(math.ceil(quantile * len(ordered)), 1) - 1]


def agrees(name, kernel_ns, latency):
    reported_ns, earliest_ns = latency["shutdown"][name], latency["shutdown_earliest"][name]
    allowed_ns = max(SHARE * kernel_ns, SLACK_NS)
    apart_ns = reported_ns - kernel_ns
    verdict = "agree" if abs(apart_ns) <= allowed_ns else "DISAGREE"
    print(
        f"{name.removesuffix('_ns')}: kernel {kernel_ns / 1000:.1f} us, generator {reported_ns / 1000:.1f} us:"
        f" {apart_ns / 1000:+.1f} us ({apart_ns / kernel_ns:+.1%}) with {allowed_ns / 1000:.1f} us allowed: {verdict}"
        f" (it says {earliest_ns / 1000:.1f} us or later)"
    )
    return abs(apart_ns) <= allowed_ns


def main():
    if len(sys.argv) < 4 or not sys.argv[1].isdecimal():
        sys.exit(__doc__)
    # As an exception, so that no trace is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("truth.py: stopped from outside"))
    with Trace(int(sys.argv[1])) as trace:
        run = subprocess.run(sys.argv[3:], stdout=sys.stderr, check=False)
        trace.stop()
        if run.returncode != 0:
            sys.exit(run.returncode if run.returncode > 0 else f"truth.py: it was ended by signal {-run.returncode}")
        lost = trace.lost()
        took, unfinished = trace.shutdowns_ns()
    latency = json.loads(pathlib.Path(sys.argv[2]).read_text())["latency"]
    if lost or unfinished or len(took) != latency["shutdown"]["count"]:
        sys.exit(
            f"truth.py: the kernel saw {len(took)} connections end and {unfinished} not, the report has"
            f" {latency['shutdown']['count']}; {lost} changes are missing from the trace"
        )
    took.sort()
    checks = [
        agrees("p50_ns", percentile(took, 0.5), latency),
        agrees("p99_ns", percentile(took, 0.99), latency),
    ]
    sys.exit(0 if all(checks) else 1)


if __name__ == "__main__":
    main()

"""A recording SMTP server (RFC 5321): takes mail for anybody, keeps what a test asks it to keep, and refuses what the test's policy refuses."""

import asyncio
import collections
import threading

from . import LOOPBACK

GREETING = b"220 sink.test ESMTP\r\n"
EXTENSIONS = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 100000000\r\n"

Arrival = collections.namedtuple("Arrival", "reverse_path recipients content")


class Session(asyncio.Protocol):
    def __init__(self, sink):
        self.sink = sink
        self.buffer = bytearray()
        self.in_content = False
        self.scanned = 0
        self.reset()

    def reset(self):
        self.reverse_path, self.recipients = None, []

    def connection_made(self, transport):
        self.transport = transport
        self.sink.connections += 1
        self.sink.connections_most = max(self.sink.connections_most, self.sink.connections)
        transport.write(GREETING)

    def connection_lost(self, _trouble):
        self.sink.connections -= 1

    def data_received(self, octets):
        self.buffer += octets
        replies = []
        while (reply := self.step()) is not None:
            replies.append(reply)
        if replies:
            self.transport.write(b"".join(replies))
        if self.reverse_path is False:
            self.transport.close()

    def step(self):
        """One command or one content out of the buffer, as its reply; None when more octets are needed."""
        if self.in_content:
            return self.content()
        end = self.buffer.find(b"\r\n")
        if end < 0:
            return None
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        return self.command(line.decode("utf-8", "replace"))

    def content(self):
        # An empty content has its dot at the very beginning.
        if self.buffer.startswith(b".\r\n"):
            end, after = 0, 3
        else:
            at = self.buffer.find(b"\r\n.\r\n", max(0, self.scanned - 5))
            if at < 0:
                self.scanned = len(self.buffer)
                return None
            end, after = at + 2, at + 5
        stuffed = bytes(self.buffer[:end])
        del self.buffer[:after]
        self.in_content, self.scanned = False, 0
        content = stuffed.replace(b"\r\n.", b"\r\n")
        content = content[1:] if content.startswith(b".") else content
        reply = self.sink.take(Arrival(self.reverse_path, tuple(self.recipients), content))
        self.reset()
        return reply

    def command(self, line):
        verb = line.upper()
        if verb.startswith("EHLO"):
            self.reset()
            return EXTENSIONS
        if verb.startswith("HELO"):
            return b"250 sink.test\r\n"
        if verb.startswith("MAIL FROM:"):
            self.reset()
            self.reverse_path = path(line)
            return b"250 2.1.0 ok\r\n"
        if verb.startswith("RCPT TO:"):
            recipient = path(line)
            refusal = self.sink.judge(recipient)
            if refusal:
                return refusal.encode() + b"\r\n"
            self.recipients.append(recipient)
            return b"250 2.1.5 ok\r\n"
        if verb == "DATA":
            if not self.recipients:
                return b"554 5.5.1 no valid recipients\r\n"
            self.in_content = True
            return b"354 go on\r\n"
        if verb == "QUIT":
            self.reverse_path = False
            return b"221 2.0.0 bye\r\n"
        if verb in ("RSET", "NOOP"):
            self.reset()
            return b"250 2.0.0 ok\r\n"
        return b"502 5.5.2 what\r\n"


def path(line):
    return line[line.index("<") + 1 : line.index(">")]


class Sink:
    """`judge(recipient)` gives a refusal or None; `keep(arrival)` is called for every content taken, and its octets are dropped afterwards."""

    def __init__(self, judge=None, keep=None):
        self.judge = judge or (lambda recipient: None)
        self.arrivals = []
        self.keep = keep or self.arrivals.append
        self.connections = self.connections_most = self.taken = 0

    def take(self, arrival):
        self.taken += 1
        self.keep(arrival)
        return b"250 2.0.0 taken\r\n"

    def start(self, address=LOOPBACK, port=0):
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()

        def run():
            asyncio.set_event_loop(self.loop)
            server = self.loop.run_until_complete(self.loop.create_server(lambda: Session(self), address, port, backlog=512))
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            self.loop.run_forever()
            server.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(10), "the sink does not listen"
        return self

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

"""A wire between the relay and a next hop that takes extensions out of the EHLO reply and writes down what the relay sends, read by read."""

import re
import socket
import threading


class Wire:
    """Listens on `address` with the next hop's own port. `hidden` are keywords the relay shall not see; STARTTLS always is one."""

    def __init__(self, address, port, hidden=()):
        self.address, self.port = address, port
        self.hidden = re.compile(rb"(?m)^(250[- ])(" + b"|".join(word.encode() for word in ("STARTTLS", *hidden)) + rb")\b")
        self.flights = []

    def start(self):
        self.listener = socket.create_server((self.address, self.port), backlog=64)
        threading.Thread(target=self.take, daemon=True).start()
        return self

    def take(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            flights = []
            self.flights.append(flights)

            def write_down(octets, flights=flights):
                flights.append(octets)
                return octets

            def hide(octets):
                return self.hidden.sub(rb"\1X-HIDDEN", octets)

            for source, sink, change in ((near, far, write_down), (far, near, hide)):
                threading.Thread(target=pump, args=(source, sink, change), daemon=True).start()

    def sessions(self):
        """Everything of each session."""
        return [b"".join(flights) for flights in self.flights]

    def stop(self):
        # A close alone would leave the thread in `accept`.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def pump(source, sink, change):
    try:
        while octets := source.recv(1 << 20):
            sink.sendall(change(octets))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            end.close()

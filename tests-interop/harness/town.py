"""A whole town on loopback: the relay, a DNS server that names everybody, a recording sink, and, when users are given, a Postfix with their mailboxes.

`mail.test` is Postfix at 127.0.0.1; `sink.test` and `d0.test`, `d1.test`, ... are the sink at 127.0.0.2 and on; `nullmx.test` takes no mail (RFC 7505);
`broken.test` has no working DNS; `nowhere.test` does not exist. All next hops share one port, because the relay has one.
"""

import json

from . import free_port, wait_for
from .dns import Dns
from .postfix import Postfix
from .relay import PASSWORD, USER, Relay
from .sink import Sink

__all__ = ["PASSWORD", "USER", "Town"]


class Town:
    def __init__(self, users=(), domains=0, judge=None, keep=None):
        self.running = []
        try:
            self.build(users, domains, judge, keep)
        except BaseException:
            self.stop()
            raise

    def build(self, users, domains, judge, keep):
        self.postfix = self.started(Postfix(users=users)) if users else None
        port = self.postfix.port if users else free_port()
        names = ["sink.test", *[f"d{number}.test" for number in range(domains)]]
        addresses = {name: f"127.0.0.{2 + place}" for place, name in enumerate(names)}
        self.sink = self.started(Sink(judge, keep), list(addresses.values()), port)
        zone = {("mail.test", "MX"): [(10, "mx.mail.test")], ("mx.mail.test", "A"): ["127.0.0.1"], ("nullmx.test", "MX"): [(0, ".")]}
        for name, address in addresses.items():
            zone |= {(name, "MX"): [(10, f"mx.{name}")], (f"mx.{name}", "A"): [address]}
        self.dns = self.started(Dns(zone, failing=["broken.test"]))
        self.relay = self.started(Relay(self.dns.port, port, relay_domains=names))

    def started(self, part, *how):
        self.running.append(part)
        return part.start(*how)

    def stop(self):
        for part in reversed(self.running):
            part.stop()
        self.running = []

    def waiting(self):
        """Deliveries in the relay's queue, by its own word."""
        counted = self.relay.cli("queue", "count", "--json")
        assert counted.returncode == 0, counted.stderr
        return json.loads(counted.stdout)["deliveries"]

    def wait_until_drained(self, seconds=60):
        wait_for("an empty queue", lambda: self.waiting() == 0, seconds)

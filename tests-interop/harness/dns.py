"""A DNS server for a handful of zones, over UDP and TCP (RFC 1035): MX, A, AAAA, TXT, CNAME; NXDOMAIN and SERVFAIL on request."""

import ipaddress
import socket
import socketserver
import struct
import threading

from . import LOOPBACK

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


def encode_name(name):
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def encode_data(kind, value):
    if kind == "A":
        return ipaddress.IPv4Address(value).packed
    if kind == "AAAA":
        return ipaddress.IPv6Address(value).packed
    if kind == "MX":
        preference, host = value
        return struct.pack(">H", preference) + encode_name(host)
    if kind == "TXT":
        # A long text is several strings (RFC 1035 §3.3.14).
        octets = value.encode()
        parts = [octets[at : at + 255] for at in range(0, len(octets), 255)]
        return b"".join(bytes([len(part)]) + part for part in parts or [b""])
    return encode_name(value)


class Dns:
    """`zone` maps (name, type) to a list of values; a name in `failing` answers SERVFAIL; other names do not exist."""

    def __init__(self, zone, failing=(), ttl=60):
        self.zone = {(name.lower(), kind): values for (name, kind), values in zone.items()}
        self.failing = {name.lower() for name in failing}
        self.ttl = ttl
        self.asked = []

    def reply(self, query):
        ident, _, questions = struct.unpack(">HHH", query[:6])
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        number = struct.unpack(">H", query[at + 1 : at + 3])[0]
        question = query[12 : at + 5]
        name, kind = ".".join(labels), next((word for word, code in TYPES.items() if code == number), str(number))
        self.asked.append((name, kind))
        code, answers = self.look_up(name, kind)
        records = b""
        for owner, word, value in answers:
            data = encode_data(word, value)
            records += encode_name(owner) + struct.pack(">HHIH", TYPES[word], 1, self.ttl, len(data)) + data
        authority = b""
        if not answers and code in (NOERROR, NXDOMAIN):
            soa = encode_name("ns.invalid") + encode_name("root.invalid") + struct.pack(">IIIII", 1, 60, 60, 60, self.ttl)
            authority = encode_name("test") + struct.pack(">HHIH", TYPES["SOA"], 1, self.ttl, len(soa)) + soa
        # QR, AA, RD, RA.
        head = struct.pack(">HHHHHH", ident, 0x8580 | code, questions, len(answers), 1 if authority else 0, 0)
        return head + question + records + authority

    def look_up(self, name, kind):
        if name in self.failing:
            return SERVFAIL, []
        if (name, "CNAME") in self.zone and kind != "CNAME":
            target = self.zone[name, "CNAME"][0]
            code, rest = self.look_up(target, kind)
            return code, [(name, "CNAME", target), *rest]
        if (name, kind) in self.zone:
            return NOERROR, [(name, kind, value) for value in self.zone[name, kind]]
        known = any(owner == name or owner.endswith("." + name) for owner, _ in self.zone)
        return (NOERROR if known else NXDOMAIN), []

    def start(self):
        dns = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                query, sock = self.request
                sock.sendto(dns.reply(query), self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self):
                while head := self.rfile.read(2):
                    answer = dns.reply(self.rfile.read(struct.unpack(">H", head)[0]))
                    self.wfile.write(struct.pack(">H", len(answer)) + answer)

        class UdpServer(socketserver.ThreadingUDPServer):
            daemon_threads = True
            allow_reuse_address = True

        class TcpServer(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.tcp = TcpServer((LOOPBACK, 0), Tcp)
        self.port = self.tcp.server_address[1]
        self.udp = UdpServer((LOOPBACK, self.port), Udp)
        for server in (self.tcp, self.udp):
            # Bursts of questions wait in the kernel instead of being lost.
            server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        for server in (self.tcp, self.udp):
            server.shutdown()
            server.server_close()

"""Clients that write down every positive completion they were given, and go on after the relay died under them."""

import random
import socket
import threading
import time

from . import LOOPBACK

SMALL, LARGE = 2_000, 400_000


class Refused(Exception):
    pass


class Session:
    """One persistent SMTP session with PIPELINING, in as few octets of Python as it takes."""

    def __init__(self, port):
        self.sock = socket.create_connection((LOOPBACK, port), 10)
        self.sock.settimeout(60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.sock.makefile("rb")
        self.expect(b"220")
        self.say(b"EHLO loader.test\r\n")
        self.expect(b"250")

    def say(self, octets):
        self.sock.sendall(octets)

    def reply(self):
        while True:
            line = self.lines.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("closed")
            if line[3:4] != b"-":
                return line

    def expect(self, code):
        line = self.reply()
        if not line.startswith(code):
            raise Refused(line)
        return line

    def send(self, reverse_path, recipients, content):
        """Returns when the end of data was answered 250. `content` has no dots at the beginning of lines."""
        paths = b"".join(b"RCPT TO:<%s>\r\n" % recipient.encode() for recipient in recipients)
        self.say(b"MAIL FROM:<%s>\r\n%sDATA\r\n" % (reverse_path.encode(), paths))
        for code in (b"250", *[b"250"] * len(recipients), b"354"):
            self.expect(code)
        self.say(content + b".\r\n")
        self.expect(b"250")

    def close(self):
        self.sock.close()


class Loader:
    """`sessions` threads. Of a message: token `SESSION-NUMBER`; one to three recipients; some are deferred once, some refused for good."""

    def __init__(self, port, sessions=8, domains=10, seed=1):
        self.port, self.domains = port, domains
        self.acknowledged = {}
        self.in_doubt = set()
        self.trouble = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number, random.Random(f"{seed}-{number}")), daemon=True) for number in range(sessions)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(90)
            assert not thread.is_alive(), "a session hangs"

    def run(self, number, chance):
        session, count = None, 0
        while not self.stopping.is_set():
            try:
                session = session or Session(self.port)
            except (OSError, Refused):
                time.sleep(0.02)
                continue
            token = f"{number}-{count}"
            count += 1
            recipients = self.recipients(token, chance)
            octets = LARGE if chance.random() < 0.01 else SMALL
            head = f"X-Token: {token}\r\nFrom: <back-{token}@d0.test>\r\nSubject: load\r\n\r\n".encode()
            try:
                session.send(f"back-{token}@d0.test", recipients, head + (b"z" * 76 + b"\r\n") * (octets // 78))
                self.acknowledged[token] = recipients
            except (OSError, Refused) as trouble:
                # The connection broke before the reply, or the relay said goodbye: the mail is nobody's, or the relay's; we do not send it again.
                self.in_doubt.add(token)
                if isinstance(trouble, Refused) and not trouble.args[0].startswith(b"421"):
                    self.trouble.append(trouble.args[0])
                session.close()
                session = None
        if session:
            session.close()

    def recipients(self, token, chance):
        kinds = chance.choices(["take", "later", "gone"], [94, 4, 2], k=chance.choices([1, 2, 3], [8, 1, 1])[0])
        return [f"{kind}-{token}-{place}@d{chance.randrange(self.domains)}.test" for place, kind in enumerate(kinds)]

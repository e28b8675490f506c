"""Messages that are hard to carry unharmed, and how to find out whether they were."""

import base64
import hashlib
import random

HEAD = "From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{token}@app.test>\r\n"


def head(sender, recipient, token, more=""):
    words = {"sender": sender, "recipient": recipient, "subject": f"interop {token}", "token": token}
    return (HEAD.format(**words) + more + "\r\n").encode()


def hard_body():
    """8-bit octets, lines that begin with dots, a line of one dot, lines at and far over RFC 5322's 998 octets, empty lines at the end."""
    lines = [b"plain", "gr\u00fc\u00dfe \u4f60\u597d".encode(), bytes(range(0x80, 0x100)), b".", b"..", b".leading", b"...", b"x" * 998]
    lines += [b"y" * 1900, b"trailing blanks   ", b"\ttab", b"From the start of a line", b"", b".", b"", b""]
    return b"\r\n".join(lines) + b"\r\n"


def attachment(octets=10_000_000, seed=1):
    return random.Random(seed).randbytes(octets)


def with_attachment(sender, recipient, token, data):
    more = 'MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name="a.bin"\r\nContent-Transfer-Encoding: base64\r\n'
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n")
    return head(sender, recipient, token, more) + encoded


def digest(data):
    return hashlib.sha256(data).hexdigest()


def as_stored(content):
    """As a Maildir keeps it: lines end in LF."""
    return content.replace(b"\r\n", b"\n")

"""Mail of strangers, verified by the relay, against verifiers of others over the same DNS (unbound): dkimpy for DKIM and ARC, pyspf for SPF; signed by dkimpy,
OpenDKIM and the relay itself. And a DNS that fails, is silent, loops, or says too much.
"""

import base64
import json
import re
import smtplib
import subprocess
import time
import unittest
import uuid

import authres
import authres.dmarc
import dkim
import dns.exception
import dns.resolver
import spf

from harness import LOOPBACK, Folder, read_maildir, wait_for
from harness.milters import OpenDkim
from harness.relay import PASSWORD, USER, Relay
from harness.sink import Sink
from harness.unbound import Unbound
from test_into_postfix import lenient

ANN, BEN = "ann@brand.test", "ben@here.test"

MORE = """
[[local_domain]]
name = "here.test"
mailboxes = ["ben", "postmaster"]
to = "maildir:mail/{user}"
"""

WAY = """
[[smart_host]]
name = "sink"
host = "127.0.0.1"
port = {port}
tls = "none"

[[route]]
name = "all"
to = "sink"

[[milter]]
name = "opendkim"
address = "inet:localhost:{milter}"
listener = ["submission"]
"""


def key(folder, name, bits):
    """An RSA key; the path of its PEM file, and its record."""
    path = folder / f"{name}.pem"
    subprocess.run(["openssl", "genrsa", "-traditional", "-out", path, str(bits)], check=True, capture_output=True)
    der = subprocess.run(["openssl", "rsa", "-in", path, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    return path, f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


def record(name, text):
    """A TXT record in master file form, its strings of at most 255 octets."""
    strings = " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))
    return f"{name} IN TXT {strings}\n"


def bare(name, size):
    """A record whose key is nothing but a modulus of so many bits: OpenSSL takes minutes to make one of 16,384."""
    def wrapped(tag, content):
        size = bytes([len(content)]) if len(content) < 128 else b"\x82" + len(content).to_bytes(2, "big")
        return bytes([tag]) + size + content

    whole = wrapped(0x30, wrapped(2, b"\0" + b"\xff" * (size // 8)) + wrapped(2, b"\1\0\1"))
    return record(name, f"v=DKIM1; k=rsa; p={base64.b64encode(whole).decode()}")


SPF = {
    "plain": "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",
    "soft": "v=spf1 a:host.test ~all",
    "mx": "v=spf1 mx:exchanged.test -all",
    "include": "v=spf1 include:plain.test include:soft.test ?all",
    "redirect": "v=spf1 redirect=plain.test",
    "macros": "v=spf1 exists:%{ir}.%{l1r+-}.%{d2}.macros.test -all",
    "helo": "v=spf1 a:%{h} -all",
    "ptr": "v=spf1 ptr:host.test -all",
    "loop": "v=spf1 include:loop.test -all",
    "many": "v=spf1 " + " ".join(f"a:a{number}.test" for number in range(11)) + " -all",
    "void": "v=spf1 a:no1.test a:no2.test a:no3.test -all",
    "typo": "v=spf1 ipv4:192.0.2.1 -all",
    "nothing": "another text",
    "broken": "v=spf1 include:x.broken.test -all",
    "alias": "v=spf1 a:hostalias.test -all",
    "cname": "v=spf1 include:plainalias.test -all",
}

ZONE = (
    "".join(record(name, text) for name, text in SPF.items())
    + record("twice", "v=spf1 -all") + record("twice", "v=spf1 +all")
    + "host IN A 198.51.100.9\nhost IN AAAA 2001:db8:9::9\nhostalias IN CNAME host\nplainalias IN CNAME plain\n"
    + "exchanged IN MX 10 host\nexchanged IN MX 20 gone\n1.2.0.192.ann.macros.test.macros IN A 127.0.0.2\n"
    + "circle IN CNAME circle2\ncircle2 IN CNAME circle\n"
    + record("brand", "v=spf1 ip4:127.0.0.1 -all") + record("_dmarc.brand", "v=DMARC1; p=reject; sp=quarantine")
    + record("_dmarc.strict", "v=DMARC1; p=reject; adkim=s; aspf=s") + record("_dmarc.public", "v=DMARC1; p=none")
    + record("www.brand", "v=spf1 ip4:127.0.0.1 -all") + record("www.strict", "v=spf1 ip4:127.0.0.1 -all")
    + record("evilbrand", "v=spf1 ip4:127.0.0.1 -all")
    + bare("small._domainkey.brand", 512) + bare("huge._domainkey.brand", 16384)
    + "circle._domainkey.brand IN CNAME circle\n"
    + record("long._domainkey.brand", "v=DKIM1; p=" + "A" * 60_000)
    + record("long", "v=spf1 " + "ip4:192.0.2.1 " * 4_000 + "-all")
)

# A reader of Authentication-Results that is not ours.
READER = authres.FeatureContext(authres.dmarc)

CLIENTS = ("192.0.2.1", "198.51.100.9", "203.0.113.5", "2001:db8::7", "2001:db8:9::9", "::ffff:192.0.2.1")


def results(mail):
    """Our field, unfolded, without the host's name: its first result of each method, and all of it."""
    fields = [line for line in re.sub(rb"\r?\n[ \t]+", b" ", mail).split(b"\n") if line.startswith(b"Authentication-Results: relay.test;")]
    assert len(fields) == 1, mail[:3000]
    text = fields[0].decode().strip()
    found = {}
    for each in READER.parse(text).results:
        found.setdefault(each.method, each.result)
    return found, text


class Verify(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder("verify")
        cls.addClassCleanup(cls.folder.remove)
        cls.keys = {}
        zone = ZONE
        for name, bits in [("one", 2048), ("short", 1024), ("long4", 4096)]:
            cls.keys[name], text = key(cls.folder.path, name, bits)
            zone += record(f"{name}._domainkey.brand", text) + record(f"{name}._domainkey.list", text)
        cls.unbound = Unbound(zone)
        cls.sink = Sink().start()
        cls.addClassCleanup(cls.sink.stop)
        cls.relay = Relay(cls.unbound.port, cls.sink.port, more=MORE)
        cls.opendkim = OpenDkim().start()
        cls.addClassCleanup(cls.opendkim.stop)
        zone += record("s1._domainkey.mail", (cls.opendkim.base / "public").read_text().split(" ", 1)[1].strip())
        cls.relay.data.mkdir(mode=0o700)
        made = cls.relay.cli("dkim", "new", "brand.test", "--json")
        assert made.returncode == 0, made.stderr
        own = json.loads(made.stdout)
        text = cls.relay.config.read_text().replace('role = "relay"\n', 'role = "relay"\nxclient = ["127.0.0.1"]\n')
        keys = ", ".join(f'"{key["selector"]}: {key["file"]}"' for key in own)
        cls.relay.config.write_text(text + f'\n[[domain]]\nname = "brand.test"\nkeys = [{keys}]\n' + WAY.format(port=cls.sink.port, milter=cls.opendkim.port))
        zone += "".join(record(key["record_name"] + ".", key["record"]) for key in own)
        cls.unbound.write_zone(zone)
        cls.unbound.start()
        cls.addClassCleanup(cls.unbound.stop)
        cls.relay.start()
        cls.addClassCleanup(cls.relay.stop)
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port, resolver.lifetime = [LOOPBACK], cls.unbound.port, 3
        dns.resolver.default_resolver = resolver

    @staticmethod
    def txt(name, timeout=5):
        """What dkimpy asks."""
        try:
            return b"".join(dns.resolver.resolve(name.decode().rstrip("."), "TXT")[0].strings)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None

    def deliver(self, message, sender=ANN, client=None, hello="client.test"):
        """Hands a message to the relay as a stranger would; what lies in the mailbox then."""
        token = uuid.uuid4().hex.encode()
        smtp = smtplib.SMTP(LOOPBACK, self.relay.plain, local_hostname=hello, timeout=60)
        with smtp:
            if client:
                smtp.ehlo()
                address = f"IPV6:{client}" if ":" in client else client
                code, said = smtp.docmd("XCLIENT", f"ADDR={address}")
                self.assertEqual(code, 220, said)
                smtp.ehlo_or_helo_if_needed()
                smtp.ehlo(hello)
            smtp.sendmail(sender, [BEN], b"X-Token: " + token + b"\r\n" + message)
        folder = self.relay.data / "mail" / "ben"
        return wait_for("the mail", lambda: next((mail for mail in read_maildir(folder) if token in mail), None))

    @staticmethod
    def message(body=b"Hello  you \r\n\r\nThere\r\n", sender=ANN):
        return f"From: Ann <{sender}>\r\nTo: {BEN}\r\nSubject:  two  blanks\r\n and a fold\r\nDate: x\r\nMessage-ID: <1@brand.test>\r\n\r\n".encode() + body

    def check_dkim(self, message, expected, note):
        """Our verdict is the expected one, and dkimpy's word on passing is the same."""
        found, text = results(self.deliver(message))
        self.assertEqual(found["dkim"], expected, f"{note}: {text}")
        try:
            theirs = dkim.verify(message, dnsfunc=self.txt)
        except (dkim.DKIMException, dns.exception.DNSException):
            theirs = False
        return theirs, text

    def test_signatures_of_dkimpy(self):
        for name in ("one", "short", "long4"):
            private = self.keys[name].read_bytes()
            for form in (b"relaxed/relaxed", b"simple/simple", b"relaxed/simple", b"simple/relaxed"):
                for body in (b"Hello  you \r\n\r\nThere\r\n", b"", b"x\r\n\r\n\r\n", b"x \r\n \t\r\n\t\r\n", b" \r\n", "gr\u00fc\u00dfe\r\n".encode()):
                    message = self.message(body)
                    canonical = tuple(form.split(b"/"))
                    signed = dkim.sign(message, name.encode(), b"brand.test", private, canonicalize=canonical) + message
                    note = f"{name} {form} {body}"
                    theirs, _ = self.check_dkim(signed, "pass", note)
                    self.assertTrue(theirs, note)
                signed = dkim.sign(self.message(), name.encode(), b"brand.test", private, canonicalize=canonical) + self.message()
                for change in ((b"Hello", b"Hullo"), (b"Subject:  two", b"Subject:  three"), (b"<1@", b"<2@")):
                    theirs, _ = self.check_dkim(signed.replace(*change), "fail", f"{form} {change}")
                    self.assertFalse(theirs)

    def test_a_length_lets_nobody_add_text(self):
        message = self.message()
        signed = dkim.sign(message, b"one", b"brand.test", self.keys["one"].read_bytes(), length=True) + message
        self.check_dkim(signed, "pass", "all of it is signed")
        theirs, text = self.check_dkim(signed + b"Buy this!\r\n", "policy", "text was added")
        self.assertTrue(theirs, "dkimpy passes it, as RFC 6376 lets it")
        self.assertIn('reason="a part of the body is not signed"', text)

    def sent(self, sender):
        """What the relay sends for a client of its own: signed by itself for brand.test, by its milter OpenDKIM for mail.test."""
        subject = uuid.uuid4().hex
        with smtplib.SMTP(LOOPBACK, self.relay.submission, timeout=30) as smtp:
            smtp.starttls(context=lenient())
            smtp.login(USER, PASSWORD)
            smtp.sendmail(sender, ["x@there.test"], f"From: {sender}\r\nSubject: {subject}\r\n\r\nHello\r\n".encode())
        return wait_for("the mail", lambda: next((each.content for each in self.sink.arrivals if subject.encode() in each.content), None))

    def test_signatures_of_the_relay_itself_and_of_opendkim(self):
        for sender, count in ((ANN, 2), ("ann@mail.test", 1)):
            found, text = results(self.deliver(self.sent(sender), sender=ANN, client="203.0.113.5"))
            self.assertEqual(re.findall(r"dkim=(\w+)", text), ["pass"] * count, text)
            self.assertEqual((found["spf"], found["dmarc"]), ("fail", "pass" if sender == ANN else "none"), "forwarded, and known by its signature")
        # Its tool signs with SHA-1.
        command = ["/usr/sbin/opendkim-testmsg", "-C", "-d", "brand.test", "-s", "one", "-k", self.keys["one"]]
        signed = subprocess.run(command, input=self.message(), capture_output=True, check=True).stdout
        _, text = self.check_dkim(re.sub(rb"\r?\n", b"\r\n", signed), "policy", "SHA-1")
        self.assertIn('reason="it was made with SHA-1"', text)

    def test_keys_and_a_dns_of_all_kinds(self):
        message = self.message()
        signed = dkim.sign(message, b"one", b"brand.test", self.keys["one"].read_bytes()) + message
        for selector, expected, reason in [
            ("small", "policy", "fewer than 1024 bits"),
            ("huge", "policy", "more than 8192 bits"),
            ("none", "permerror", "there is no such key"),
            ("circle", "temperror", "could not be looked up"),
            ("long", "temperror", "could not be looked up"),
        ]:
            began = time.monotonic()
            _, text = self.check_dkim(signed.replace(b"s=one", f"s={selector}".encode()), expected, selector)
            self.assertIn(reason, text)
            self.assertLess(time.monotonic() - began, 40, selector)
        for domain, expected in [("x.broken.test", "temperror"), ("x.silent.test", "temperror"), ("circle.test", "temperror"), ("long.test", "temperror")]:
            began = time.monotonic()
            found, text = results(self.deliver(message, sender=f"ann@{domain}"))
            self.assertEqual(found["spf"], expected, text)
            self.assertLess(time.monotonic() - began, 40, domain)

    def test_spf_by_the_word_of_pyspf(self):
        for domain in [*SPF, "twice", "nothere"]:
            for client in CLIENTS:
                if domain == "broken" and client != CLIENTS[0]:
                    continue
                sender, hello = f"ann@{domain}.test", "host.test"
                theirs, _ = spf.check2(i=client, s=sender, h=hello)
                for sent in (sender, ""):
                    if not sent and domain != "plain":
                        continue
                    expected = theirs if sent else spf.check2(i=client, s="", h=hello)[0]
                    found, text = results(self.deliver(self.message(), sender=sent, client=client, hello=hello))
                    self.assertEqual(found["spf"], expected, f"{domain} {client}: {text}")
                    self.assertIn("smtp.mailfrom=" if sent else "smtp.helo=host.test", text)

    def test_nobody_writes_a_result_of_his_own(self):
        says = "; dkim=pass header.d=bank.test; dmarc=pass header.from=bank.test"
        field = f"Authentication-Results: relay.test{says}\r\n"
        signature = f"DKIM-Signature: v=1; a=rsa-sha256; d=evil.test{says.replace(';', ',')}; s=s; h=from; bh=AAAA; b=AAAA\r\n"
        author = f'From: "a{says}" <a@evilbrand.test>\r\n'
        for sender, head in [
            ('"a; dkim=pass header.d=bank.test"@evilbrand.test', ""),
            ("a@evilbrand.test", field),
            ("a@evilbrand.test", field.replace(" relay", "\r\n (\\)) RELAY")),
            ("a@evilbrand.test", field.replace("relay.test", '"relay.\\test"')),
            ("a@evilbrand.test", signature),
            ("a@evilbrand.test", author),
        ]:
            mail = self.deliver(head.encode() + self.message(sender="a@evilbrand.test"), sender=sender)
            _, text = results(mail)
            read = READER.parse(text)
            passing = [each for each in read.results if each.result == "pass" and each.method in ("dkim", "dmarc")]
            # Its SPF passes, for its own domain.
            self.assertEqual([str(each) for each in passing if "bank.test" in str(each)], [], f"{sender!r} {head!r}: {text}")
            self.assertEqual(mail.lower().count(b"authentication-results"), 1, mail)

    def test_dmarc(self):
        private = self.keys["one"].read_bytes()
        for sender, author, domain, expected, policy in [
            ("a@brand.test", "a@brand.test", None, "pass", "reject"),
            ("a@www.brand.test", "a@brand.test", None, "pass", "reject"),
            ("a@www.strict.test", "a@strict.test", None, "fail", "reject"),
            ("a@brand.test", "a@sub.brand.test", None, "pass", "quarantine"),
            ("a@evilbrand.test", "a@brand.test", None, "fail", "reject"),
            ("a@evilbrand.test", "a@sub.brand.test", None, "fail", "quarantine"),
            ("a@evilbrand.test", "a@brand.test", b"brand.test", "pass", "reject"),
            ("a@evilbrand.test", "a@brand.test", b"list.test", "fail", "reject"),
            ("a@evilbrand.test", "a@public.test", None, "fail", "none"),
            ("a@evilbrand.test", "a@silence.test", None, "none", None),
        ]:
            message = self.message(sender=author)
            if domain:
                message = dkim.sign(message, b"one", domain, private) + message
            found, text = results(self.deliver(message, sender=sender))
            self.assertEqual(found["dmarc"], expected, f"{sender} {author} {domain}: {text}")
            self.assertEqual(re.findall(r"policy\.dmarc=(\w+)", text), [policy] if policy else [], text)

    def test_chains_of_dkimpy(self):
        private, host = self.keys["one"].read_bytes(), b"list.test"
        message = self.message()
        sealed = message
        for number in (1, 2, 3):
            # What a seal tells is what its own server found out.
            arc = b"" if number == 1 else b"; arc=pass"
            found = b"Authentication-Results: list.test; spf=pass smtp.mailfrom=brand.test" + arc + b"\r\n"
            sealed = b"".join(dkim.arc_sign(found + sealed, b"one", host, private, host)) + sealed
            cv, _, why = dkim.arc_verify(sealed, dnsfunc=self.txt)
            self.assertEqual(cv, b"pass", why)
            self.assertIn(f"ARC-Seal: i={number};".encode(), sealed)
            found, text = results(self.deliver(sealed))
            self.assertEqual(found.get("arc"), "pass", f"{number} sets: {text}")
        for change in [(b"Hello", b"Hullo"), (b"spf=pass", b"spf=none"), (b"ARC-Seal: i=2", b"X-Seal: i=2"), (b"cv=pass", b"cv=none")]:
            changed = sealed.replace(*change)
            self.assertNotEqual(changed, sealed, change)
            self.assertNotEqual(dkim.arc_verify(changed, dnsfunc=self.txt)[0], b"pass", change)
            found, text = results(self.deliver(changed))
            self.assertEqual(found["arc"], "fail", f"{change}: {text}")


if __name__ == "__main__":
    unittest.main()

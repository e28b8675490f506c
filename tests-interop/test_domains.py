"""What a domain is told to publish, published as it was printed in a real server's zone (unbound), and found there again."""

import json
import unittest

from harness.relay import Relay
from harness.unbound import Unbound

BASE = "relay IN A 127.0.0.2\n"


class Domains(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.unbound = Unbound(BASE).start()
        cls.addClassCleanup(cls.unbound.stop)
        cls.relay = Relay(cls.unbound.port, 25)
        cls.addClassCleanup(cls.relay.folder.remove)
        cls.relay.data.mkdir(parents=True)
        more = ""
        for domain in ("brand.test", "brand.broken.test"):
            told = cls.relay.cli("dkim", "new", domain)
            assert told.returncode == 0, told.stderr
            section = told.stdout.split("[[domain]]")[1].split("\n\n")[0]
            more += f'\n[[domain]]{section}\nreturn_path = "bounce.{domain}"\n'
        cls.relay.config.write_text(cls.relay.config.read_text() + more)

    def domain(self, *words):
        return self.relay.cli("domain", *words, "--config", str(self.relay.config))

    def test_what_is_printed_is_a_zone_and_is_found_in_it(self):
        before = self.domain("check", "brand.test")
        self.assertEqual(before.returncode, 1, before.stdout + before.stderr)
        self.assertIn("MISSING   DKIM key postrider-rsa", before.stdout)
        zone = self.domain("records", "brand.test", "--zone")
        self.assertEqual(zone.returncode, 0, zone.stderr)
        # Short, so that what is changed below is seen.
        self.unbound.change(BASE + zone.stdout.replace(" 3600 IN ", " 1 IN "))
        self.unbound.control("flush_zone", "test.")
        after = self.domain("check", "brand.test")
        self.assertEqual(after.returncode, 0, after.stdout + after.stderr)
        self.assertIn("All is well.", after.stdout)
        # The long key came back whole from its several strings; half of it is another one.
        views = [json.loads(line) for line in self.domain("check", "brand.test", "--json").stdout.splitlines()]
        states = {finding["record"]: finding["state"] for finding in views[0]["findings"]}
        self.assertEqual(states["key:postrider-rsa"], "ok")
        self.assertEqual(set(states.values()), {"ok"})
        broken = "\n".join(line.split('" "')[0] + '" )' if "_domainkey" in line and '" "' in line else line for line in zone.stdout.splitlines())
        self.unbound.change(BASE + broken.replace(" 3600 IN ", " 1 IN ") + "\n")
        self.unbound.control("flush_zone", "test.")
        cut = self.domain("check", "brand.test")
        self.assertEqual(cut.returncode, 1, cut.stdout)
        self.assertIn("the key breaks off", cut.stdout)

    def test_a_zone_that_fails_is_unknown_and_not_missing(self):
        said = self.domain("check", "brand.broken.test")
        self.assertEqual(said.returncode, 3, said.stdout + said.stderr)
        self.assertNotIn("MISSING", said.stdout)
        self.assertIn("unknown", said.stdout)


if __name__ == "__main__":
    unittest.main()

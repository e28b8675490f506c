"""A business's Postfix uses the relay as its smart host: SASL under TLS, many mails, one refusal that must reach the sender."""

import smtplib
import unittest
import uuid

from harness import LOOPBACK, wait_for
from harness.messages import hard_body, head
from harness.postfix import Postfix
from harness.town import PASSWORD, USER, Town

SENDER, RECIPIENT = "app@mail.test", "someone@sink.test"


class FromPostfix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.town = Town(users=[SENDER])
        cls.addClassCleanup(cls.town.stop)

    def run_through(self, port, *how):
        business = Postfix(domains=["business.test"], relay=(port, USER, PASSWORD, *how), hostname="mta.business.test").start()
        self.addCleanup(business.stop)
        token = uuid.uuid4().hex
        with smtplib.SMTP(LOOPBACK, business.port) as client:
            for number in range(30):
                client.sendmail(SENDER, [RECIPIENT], head(SENDER, RECIPIENT, f"{token}.{number}") + hard_body())

        def contents():
            return [arrival.content for arrival in self.town.sink.arrivals if token.encode() in arrival.content]

        try:
            wait_for("30 mails at the sink", lambda: len(contents()) >= 30, 60)
        except AssertionError as trouble:
            raise AssertionError(f"{trouble}\n{business.log()[-3000:]}") from trouble
        found = contents()
        self.assertEqual(len(found), 30)
        for number in range(30):
            (content,) = [content for content in found if f"<{token}.{number}@".encode() in content]
            # Postfix as a client folds lines over 998 octets; nothing else changes.
            tail = hard_body().split(b"y" * 1900)[1]
            self.assertTrue(content.endswith(tail), content[-300:])
            self.assertIn(hard_body().split(b"y" * 1900)[0], content)

    def test_submission_with_starttls(self):
        self.run_through(self.town.relay.submission)

    def test_submission_with_implicit_tls(self):
        self.run_through(self.town.relay.submissions, "implicit")


if __name__ == "__main__":
    unittest.main()

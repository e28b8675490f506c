"""What NOTIFY, RET, ENVID and ORCPT ask for (RFC 3461), between smtplib, us and a Postfix that offers DSN itself."""

import email
import email.policy
import smtplib
import unittest
import uuid

from harness import LOOPBACK
from harness.messages import head
from harness.town import PASSWORD, USER, Town
from test_into_postfix import lenient

ANN, BEN = "ann@mail.test", "ben@mail.test"


class Notifications(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.town = Town(users=[ANN, BEN])
        cls.addClassCleanup(cls.town.stop)

    def send(self, recipient, mail, rcpt, body=b"the text itself\r\n"):
        token = uuid.uuid4().hex
        with smtplib.SMTP(LOOPBACK, self.town.relay.submission, timeout=30) as client:
            client.starttls(context=lenient())
            client.login(USER, PASSWORD)
            client.sendmail(ANN, [recipient], head(ANN, recipient, token) + body, mail_options=mail, rcpt_options=rcpt)
        return token

    def report_about(self, token):
        (octets,) = self.town.postfix.wait_for_mail(ANN, matching=token.encode())
        report = email.message_from_bytes(octets, policy=email.policy.default)
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        parts = list(report.iter_parts())
        groups = [dict(group.items()) for group in parts[1].get_payload()]
        return groups[0], groups[1], parts

    def test_a_next_hop_with_dsn_is_asked_and_answers_itself(self):
        token = self.send(BEN, ["RET=HDRS", "ENVID=QQ+2B314"], ["NOTIFY=SUCCESS", "ORCPT=rfc822;Ben+2Bx@mail.test"])
        about_message, about_recipient, _ = self.report_about(token)
        self.assertEqual(about_message["Reporting-MTA"].replace(" ", ""), "dns;mx.mail.test", "Postfix reports, not we")
        self.assertEqual(about_message["Original-Envelope-Id"], "QQ+314")
        self.assertEqual(about_recipient["Action"], "delivered")
        self.assertEqual(about_recipient["Original-Recipient"].replace(" ", ""), "rfc822;Ben+x@mail.test")

    def test_where_the_next_hop_will_not_tell_we_do(self):
        token = self.send("someone@sink.test", ["ENVID=E2"], ["NOTIFY=SUCCESS,FAILURE"])
        about_message, about_recipient, parts = self.report_about(token)
        self.assertNotEqual(about_message["Reporting-MTA"].replace(" ", ""), "dns;mx.mail.test")
        self.assertEqual((about_message["Original-Envelope-Id"], about_recipient["Action"]), ("E2", "relayed"))
        self.assertTrue(about_recipient["Status"].startswith("2."))
        self.assertNotIn("the text itself", parts[2].as_string())

    def test_a_failure_returns_as_much_as_was_asked_for_or_nothing_at_all(self):
        silent = self.send("nobody@mail.test", [], ["NOTIFY=NEVER"])
        whole = self.send("nobody@mail.test", ["RET=FULL"], ["NOTIFY=FAILURE"])
        _, about_recipient, parts = self.report_about(whole)
        self.assertEqual((about_recipient["Action"], parts[2].get_content_type()), ("failed", "message/rfc822"))
        self.assertIn("the text itself", parts[2].as_string())
        header = self.send("nobody@mail.test", ["RET=HDRS"], [])
        _, _, parts = self.report_about(header)
        self.assertEqual(parts[2].get_content_type(), "text/rfc822-headers")
        self.town.wait_until_drained()
        self.assertFalse([mail for mail in self.town.postfix.mailbox(ANN) if silent.encode() in mail], "silence was asked for")


if __name__ == "__main__":
    unittest.main()

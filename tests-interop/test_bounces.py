"""Failures come back to the sender as RFC 3464 reports that a program can read; a null reverse-path never hears anything."""

import email
import email.policy
import smtplib
import unittest
import uuid

from harness import LOOPBACK
from harness.messages import head
from harness.town import PASSWORD, USER, Town
from test_into_postfix import lenient

ANN = "ann@mail.test"


class Bounces(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.town = Town(users=[ANN])
        cls.addClassCleanup(cls.town.stop)

    def send(self, reverse_path, recipients):
        token = uuid.uuid4().hex
        with smtplib.SMTP(LOOPBACK, self.town.relay.submission, timeout=30) as client:
            client.starttls(context=lenient())
            client.login(USER, PASSWORD)
            client.sendmail(reverse_path, recipients, head(ANN, recipients[0], token) + b"secret body\r\n")
        return token

    def report_about(self, token):
        (octets,) = self.town.postfix.wait_for_mail(ANN, matching=token.encode())
        return octets, email.message_from_bytes(octets, policy=email.policy.default)

    def status_fields(self, report):
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        parts = list(report.iter_parts())
        self.assertEqual(parts[0].get_content_type(), "text/plain")
        self.assertEqual(parts[1].get_content_type(), "message/delivery-status")
        self.assertIn(parts[2].get_content_type(), ("message/rfc822", "text/rfc822-headers"))
        groups = [dict(group.items()) for group in parts[1].get_payload()]
        return groups[0], groups[1:], parts

    def test_an_unknown_user_is_reported(self):
        token = self.send(ANN, ["nobody@mail.test"])
        octets, report = self.report_about(token)
        about_message, about_recipients, parts = self.status_fields(report)
        self.assertIn(b"Return-Path: <>", octets)
        self.assertTrue(about_message["Reporting-MTA"].startswith("dns;"))
        (fields,) = [group for group in about_recipients if group]
        self.assertEqual(fields["Final-Recipient"].replace(" ", "").lower(), "rfc822;nobody@mail.test")
        self.assertEqual(fields["Action"], "failed")
        self.assertEqual(fields["Status"], "5.1.1")
        self.assertTrue(fields["Diagnostic-Code"].startswith("smtp; 550 5.1.1"), fields["Diagnostic-Code"])
        self.assertIn("Remote-MTA", fields)
        self.assertIn("nobody@mail.test", parts[0].get_content())
        self.assertIn(token, parts[2].as_string())

    def test_a_domain_that_does_not_exist_is_reported(self):
        token = self.send(ANN, ["who@nowhere.test"])
        _, about_recipients, _ = self.status_fields(self.report_about(token)[1])
        self.assertEqual(about_recipients[0]["Status"], "5.1.2")

    def test_a_null_mx_is_reported(self):
        token = self.send(ANN, ["who@nullmx.test"])
        _, about_recipients, _ = self.status_fields(self.report_about(token)[1])
        self.assertEqual(about_recipients[0]["Status"], "5.1.10")

    def test_only_the_failed_of_several_recipients_are_reported(self):
        token = self.send(ANN, ["nobody@mail.test", "someone@sink.test", "nobody2@mail.test"])
        self.town.wait_until_drained()
        reports = self.town.postfix.wait_for_mail(ANN, matching=token.encode())
        failed = []
        for octets in reports:
            _, groups, _ = self.status_fields(email.message_from_bytes(octets, policy=email.policy.default))
            failed += [group["Final-Recipient"].split(";")[1].strip() for group in groups if group]
        self.assertEqual(sorted(failed), ["nobody2@mail.test", "nobody@mail.test"])

    def test_a_null_reverse_path_is_never_answered(self):
        before = len(self.town.postfix.mailbox(ANN))
        self.send("", ["nobody@mail.test"])
        self.town.wait_until_drained()
        # The control: a report that is due does arrive after it.
        self.report_about(self.send(ANN, ["nobody@mail.test"]))
        self.assertEqual(len(self.town.postfix.mailbox(ANN)), before + 1)


if __name__ == "__main__":
    unittest.main()

"""Judges a run with crashes from outside: what the clients were promised against what the sinks saw."""

import collections
import time


class Judge:
    """The sinks' memory. A key is a recipient address, which every message has for itself; a report's key is its addressee."""

    def __init__(self):
        self.arrived = collections.defaultdict(list)
        self.tries = collections.Counter()
        self.kills = []
        self.wrong = []

    def answer(self, recipient):
        """The sink's policy: `later-...` is taken at the second try, `gone-...` never."""
        if recipient.startswith("gone-"):
            return "550 5.1.1 no such mailbox"
        self.tries[recipient] += 1
        if recipient.startswith("later-") and self.tries[recipient] == 1:
            return "451 4.7.1 later"
        return None

    def keep(self, arrival):
        now = time.monotonic()
        for recipient in arrival.recipients:
            self.arrived[recipient].append(now)
            report = recipient.startswith("back-")
            if report != (arrival.reverse_path == ""):
                self.wrong.append(f"{recipient} got mail from <{arrival.reverse_path}>")
            elif not report:
                token = recipient.split("@")[0].split("-", 1)[1].rsplit("-", 1)[0]
                if f"X-Token: {token}\r\n".encode() not in arrival.content[:4000]:
                    self.wrong.append(f"{recipient} got another's content")

    def expected(self, acknowledged):
        """The keys that must arrive, by what was acknowledged."""
        keys = set()
        for token, recipients in acknowledged.items():
            keys |= {recipient for recipient in recipients if not recipient.startswith("gone-")}
            if any(recipient.startswith("gone-") for recipient in recipients):
                keys.add(f"back-{token}@d0.test")
        return keys

    def missing(self, acknowledged):
        return {key for key in self.expected(acknowledged) if key not in self.arrived}

    def duplicates(self):
        """Extra copies by the number of the kill they followed; -1 for those no kill explains."""
        counted = collections.Counter()
        for key, times in self.arrived.items():
            # Reports for several refused recipients of one message may rightly be several mails.
            if key.startswith("back-"):
                continue
            for before, after in zip(times, times[1:]):
                between = [number for number, at in enumerate(self.kills) if before <= at <= after]
                counted[between[-1] if between else -1] += 1
        return counted

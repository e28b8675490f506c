"""`kill.py N [KILL|TERM] [SEED]`: ends the relay N times under load, at random moments, and starts it again on the same data.

Judged at the end, when the queue is empty: every recipient of every message answered 250 got it (or, when refused for good, its sender got a
report); after SIGKILL, extra copies are at most the deliveries that were in flight plus the outcomes not yet synced
(`limits::UNSYNCED_OUTCOMES_MAX`); after SIGTERM there are none, and the relay ended by itself with status 0. The relay's page cache survives
its death: what a loss of power leaves is the simulator's part, not this script's.
"""

import random
import signal
import sys
import time

from harness import answers, wait_for
from harness.judge import Judge
from harness.loader import Loader
from harness.town import Town

UNSYNCED_OUTCOMES_MAX = 1024
RECIPIENTS_MAX = 3


def main(times, how, seed):
    chance = random.Random(seed)
    judge = Judge()
    town = Town(judge=judge.answer, keep=judge.keep, domains=10)
    relay, sink, loader = town.relay, town.sink, Loader(town.relay.plain, seed=seed)
    faults, slowest = [], 0.0
    print(f"{relay.binary}, data in {relay.data}, seed {seed}", flush=True)
    try:
        loader.start()
        for number in range(times):
            # One in four comes in the middle of the start.
            time.sleep(0 if number and chance.random() < 0.25 else chance.uniform(0.2, 2.0))
            before = len(loader.acknowledged)
            told = time.monotonic()
            if how == "KILL":
                relay.kill()
            else:
                relay.terminate()
            ending = time.monotonic() - told
            # What the dead relay had put on the wire is its own; the sinks read that to the end before the next one may send.
            wait_for("the end of the old connections", lambda: sink.connections == 0)
            judge.kills.append(time.monotonic())
            begin = time.monotonic()
            relay.start(up=answers)
            slowest = max(slowest, time.monotonic() - begin)
            print(f"{number + 1}/{times}: {before} acknowledged, {sink.taken} arrived, ended in {ending:.2f} s, up again in {time.monotonic() - begin:.2f} s", flush=True)
        time.sleep(1)
        loader.stop()
        print("waiting for the queue to drain", flush=True)
        wait_for("the arrival of all that was acknowledged", lambda: not judge.missing(loader.acknowledged), 120)
        town.wait_until_drained()
        time.sleep(0.5)
    except AssertionError as trouble:
        faults.append(str(trouble))
    finally:
        loader.stopping.set()
        missing, counted = judge.missing(loader.acknowledged), judge.duplicates()
        log = relay.log()
        town.stop()
    bound = sink.connections_most * RECIPIENTS_MAX + UNSYNCED_OUTCOMES_MAX if how == "KILL" else 0
    print(f"{times} x SIG{how}: {len(loader.acknowledged)} messages acknowledged, {len(loader.in_doubt)} in doubt, {len(judge.expected(loader.acknowledged))} arrivals due")
    print(f"lost: {len(missing)} {sorted(missing)[:10]}")
    print(f"extra copies: {counted.total()} in all, at most {max(counted.values(), default=0)} for one end of the relay (bound {bound})")
    print(f"slowest start: {slowest:.2f} s; connections out at most {sink.connections_most}; deferred once: {sum(key.startswith('later-') for key in judge.arrived)}; reports: {sum(key.startswith('back-') for key in judge.arrived)}")
    if missing:
        faults.append(f"{len(missing)} acknowledged deliveries were lost")
    if max(counted.values(), default=0) > bound:
        faults.append("more extra copies than the bound")
    if counted[-1]:
        faults.append(f"{counted[-1]} extra copies without a crash between")
    if loader.trouble:
        faults.append(f"unexpected replies: {loader.trouble[:5]}")
    if judge.wrong:
        faults.append(f"wrong mail: {judge.wrong[:5]}")
    if len(loader.acknowledged) < times:
        faults.append("almost nothing was acknowledged: this run shows nothing")
    for fault in faults:
        print(f"FAULT: {fault}")
    if faults:
        print(f"the relay's log ends:\n{log[-3000:]}")
    return 1 if faults else 0


if __name__ == "__main__":
    number, name = int(sys.argv[1]), (sys.argv[2:] or ["KILL"])[0]
    getattr(signal, f"SIG{name}")
    sys.exit(main(number, name, int((sys.argv[3:] or [time.time_ns() % 1_000_000])[0])))

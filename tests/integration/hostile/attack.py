"""One kind of hostile clients: a process that does its worst until its time is over."""
import random
import sys
import time

import grpc

import stubs
from hostile.holders import Holders
from hostile.readers import Readers
from hostile.senders import Senders

KINDS = ("never_reads", "unread_calls", "reads_everything", "cancels", "never_sends", "sends_slowly",
         "headers", "large_values", "large_writes", "outcomes", "garbage", "many_connections",
         "slow_pages", "hoards", "malformed")


class Attack(Readers, Senders, Holders):
    """What all kinds share; `done` counts what was done, so that nobody is called harmless who did nothing."""

    def __init__(self, args):
        self.args = args
        self.pb, self.services, self.txn = stubs.load(args.stubs)
        self.addresses = args.addresses.split(",")
        self.http = args.http.split(",")
        self.rng = random.Random(args.seed)
        self.end = time.monotonic() + args.seconds
        self.done = {}

    def going(self):
        return time.monotonic() < self.end

    def did(self, what, count=1):
        self.done[what] = self.done.get(what, 0) + count

    def hold(self, connections, seconds, step=None):
        """Keeps them open, silent but for the answers to pings and what `step` does with each."""
        until = time.monotonic() + seconds
        while self.going() and time.monotonic() < until and connections:
            for connection in list(connections):
                try:
                    connection.answer_pings()
                    if step:
                        step(connection)
                except OSError:
                    self.did("connections lost")
                    connections.remove(connection)
            time.sleep(0.1)
        for connection in connections:
            connection.socket.close()

    def stub(self):
        channel = grpc.insecure_channel(self.rng.choice(self.addresses),
                                        [("grpc.use_local_subchannel_pool", 1),
                                         ("grpc.max_send_message_length", -1)])
        return channel, self.services.QuorateStub(channel)


def run(args):
    """The kind args.only."""
    attack = Attack(args)
    while attack.going():
        try:
            getattr(attack, args.only)()
        except (OSError, grpc.RpcError):
            time.sleep(0.1)  # it was shown the door: in again
    done = {what: round(count) for what, count in attack.done.items()}
    sys.stdout.write(f"{args.only} {done}\n")  # in one piece

"""Hostile clients that ask: for everything, for nothing, and without reading what they get."""
import importlib
import os
import threading
import time

import grpc

from hostile.http2 import Http2


class Readers:
    """Kinds of an Attack, each a method."""

    def never_reads(self):
        """40 connections that ask for 100 scans of everything each and take no byte of an answer."""
        scan = self.pb.ScanOperation(to=b"fat0")
        setattr(scan, "from", b"fat/")
        execute = self.pb.ExecuteRequest(operations=[self.pb.Operation(scan=scan)],
                                         timeout_ms=60000).SerializeToString()
        all_of_it = self.pb.ScanAllRequest(to=b"fat0").SerializeToString()
        while self.going():
            connections = [Http2(address) for address in self.addresses for _ in range(14)]
            for _ in range(100):
                for connection in list(connections):
                    try:
                        connection.call(b"/quorate.v1.Quorate/Execute", execute)
                        connection.call(b"/quorate.v1.Quorate/ScanAll", all_of_it)
                        self.did("calls", 2)
                        connection.answer_pings()
                    except OSError:
                        connections.remove(connection)
            self.hold(connections, 15)

    def routes(self):
        """Of fat/: the cluster's id, the shard, and the address of who leads it."""
        node, shard = (importlib.import_module(f"quorate.v1.{name}_pb2")
                            for name in ("node", "shard"))
        placement = importlib.import_module("quorate.v1.placement_pb2")
        rpc_services = importlib.import_module("quorate.v1.rpc_pb2_grpc")
        request = placement.RoutesRequest(to=b"fat0")
        setattr(request, "from", b"fat/")
        ask = node.CallBatch(calls=[node.Call(id=1, request=node.NodeRequest(
            timeout_ms=5000, routes=request))])
        answered = threading.Event()

        def asked():  # a stream whose client has said all ends
            yield ask
            answered.wait()
        with grpc.insecure_channel(self.addresses[0]) as channel:
            answer = next(rpc_services.NodeStub(channel).Calls(asked(), timeout=5))
            answered.set()
        routes = answer.calls[0].response.routes
        route = routes.routes[0]
        leader = next((n.address for n in routes.nodes if n.node_id == route.leader_node_id),
                      self.addresses[0])
        return node, shard, routes.cluster_id, route.shard, leader

    def unread_calls(self):
        """As another process of the cluster: reads of the fat shard on streams that nobody reads."""
        while self.going():
            node, shard, cluster_id, route, leader = self.routes()
            scan = shard.ScanSpan(span={"from": b"fat/", "to": b"fat0"})
            read = shard.ReadRequest(route={"shard_id": route.shard_id, "version": route.version},
                                     scans=[scan])
            batch = node.CallBatch(cluster_id=cluster_id, calls=[
                node.Call(id=number, request=node.NodeRequest(timeout_ms=10000, read=read))
                for number in range(1, 5)]).SerializeToString()
            connections = [Http2(leader) for _ in range(20)]
            for _ in range(5):
                for connection in list(connections):
                    try:
                        connection.call(b"/quorate.v1.Node/Calls", batch, end=False)
                        self.did("reads", 4)
                        connection.answer_pings()
                    except OSError:
                        connections.remove(connection)
                time.sleep(0.2)
            self.hold(connections, 10)

    def reads_everything(self):
        """Scans of all there is, many at once, and read: what a node does at its busiest."""
        scan = self.pb.ScanOperation(to=b"fat0")
        setattr(scan, "from", b"fat/")
        execute = self.pb.ExecuteRequest(operations=[self.pb.Operation(scan=scan)])
        everything = self.pb.ScanAllRequest(to=b"fat0")

        def run():
            channel, stub = self.stub()
            with channel:
                while self.going():
                    try:
                        stub.Execute(execute, timeout=10)
                        for _ in stub.ScanAll(everything, timeout=10):
                            pass
                        self.did("scans", 2)
                    except grpc.RpcError:
                        self.did("refused")
                        time.sleep(0.05)
        threads = [threading.Thread(target=run) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def cancels(self):
        """Scans and transactions that are cancelled as soon as they run."""
        everything = self.pb.ScanAllRequest(to=b"fat0")
        while self.going():
            channel, stub = self.stub()
            with channel:
                for _ in range(200):
                    calls = [stub.ScanAll(everything, timeout=10) for _ in range(4)]
                    calls += [stub.Execute.future(self.pb.ExecuteRequest(operations=[
                        self.pb.Operation(put=self.txn.Write(key=b"cancel", value=b"x" * 9999))]))]
                    time.sleep(self.rng.random() * 0.02)
                    for call in calls:
                        call.cancel()
                    self.did("calls", len(calls))
                    if not self.going():
                        return
                    time.sleep(0.05)

    def outcomes(self):
        """What became of transactions that never were."""
        while self.going():
            channel, stub = self.stub()
            with channel:
                for _ in range(20):
                    calls = []
                    for _ in range(20):
                        name = bytearray(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10))
                        name[6], name[8] = 0x70 | name[6] & 15, 0x80 | name[8] & 63
                        txn = self.txn.TxnRef(txn_id=bytes(name), anchor_key=b"outcome")
                        calls.append(stub.GetOutcome.future(self.pb.GetOutcomeRequest(txn=txn)))
                    for call in calls:
                        try:
                            call.result(timeout=10)
                        except (grpc.RpcError, grpc.FutureTimeoutError):
                            self.did("failed")
                    self.did("calls", len(calls))
                    if not self.going():
                        return
                    time.sleep(0.05)

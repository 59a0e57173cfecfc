"""Python stubs of proto/, as a program in another language would generate them."""
import importlib
import subprocess
import sys

import harness

NAMES = ("admin", "client", "node", "placement", "raft", "rpc", "schema", "shard", "txn")


def generate(directory):
    """client_pb2, client_pb2_grpc and txn_pb2; the others can be imported from then on."""
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={harness.SOURCE}/proto",
                    f"--python_out={directory}", f"--grpc_python_out={directory}",
                    *(f"quorate/v1/{name}.proto" for name in NAMES)], check=True)
    return load(directory)


def load(directory):
    """Of stubs that another process generated."""
    sys.path.insert(0, directory)
    return tuple(importlib.import_module(f"quorate.v1.{name}")
                 for name in ("client_pb2", "client_pb2_grpc", "txn_pb2"))

"""Waits until gRPC health at the address given says what is wanted: arguments like liveness=SERVING."""

import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LIMIT = 60

address, *wanted = sys.argv[1:]
wanted = dict(status.split("=") for status in wanted)
health = health_pb2_grpc.HealthStub(grpc.insecure_channel(address))


def ask(service):
    """The status, or how the call failed."""
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        status = health.Check(request, timeout=LIMIT).status
    except grpc.RpcError as error:
        return error.code().name
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


end = time.monotonic() + LIMIT
while (seen := {service: ask(service) for service in wanted}) != wanted:
    assert time.monotonic() < end, f"{seen}, not {wanted}"
    time.sleep(0.05)

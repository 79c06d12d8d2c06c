"""Calls the service at the address given, and prints all it sees that has to be the same each time.

Its messages are those that the service describes by reflection.
"""

import sys
import time

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

LIMIT = 60
METADATA = (("x-text", "some"), ("x-text", "more"), ("x-bytes-bin", b"\x00\xff"), ("other", "no"))

channel = grpc.insecure_channel(sys.argv[1])
reflection = ProtoReflectionDescriptorDatabase(channel)
pool = DescriptorPool(reflection)
echo = pool.FindServiceByName("echo.v1.Echo")
print("services:", sorted(reflection.get_services()))


def method(name):
    """The method of that name as something to call."""
    described = echo.methods_by_name.get(name)
    ask, answer = (described.input_type, described.output_type) if described else (Ask.DESCRIPTOR,) * 2
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    kind = (described.client_streaming, described.server_streaming) if described else (False, False)
    return kinds[kind](
        f"/echo.v1.Echo/{name}",
        request_serializer=GetMessageClass(ask).SerializeToString,
        response_deserializer=GetMessageClass(answer).FromString,
    )


Ask = GetMessageClass(pool.FindMessageTypeByName("echo.v1.Ask"))
unary, server_stream = method("Unary"), method("ServerStream")
client_stream, bidi = method("ClientStream"), method("Bidi")
figures = method("Figures")


def fields(metadata):
    return sorted((name, value) for name, value in metadata or () if name != "date")


def show(what, call, answers):
    print(f"{what}: {[str(answer) for answer in answers]}")
    print(f"  head {fields(call.initial_metadata())}, trailers {fields(call.trailing_metadata())}")
    print(f"  {call.code()}, {call.details()!r}")


def one(what, kind, asks, **options):
    """A call that has one answer, or none."""
    try:
        answer, call = kind.with_call(asks, timeout=LIMIT, metadata=METADATA, **options)
        show(what, call, [answer])
    except grpc.RpcError as call:
        show(what, call, [])


def several(what, kind, asks):
    """A call that has a stream of answers."""
    call = kind(asks, timeout=LIMIT, metadata=METADATA)
    answers = []
    try:
        answers.extend(call)
    except grpc.RpcError:
        pass  # `code` says it.
    show(what, call, answers)


def code_of(call):
    """How a call ends; it must fail."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    raise AssertionError("it was answered")


def opened():
    return figures(Ask(), timeout=LIMIT).open


def wait_until(what, is_so):
    end = time.monotonic() + LIMIT
    while not is_so(opened()):
        assert time.monotonic() < end, f"{opened()} calls are open, not {what}"
        time.sleep(0.02)


def wait_until_closed(number):
    """Earlier calls may have been counted before they were dropped, so there may be fewer."""
    wait_until(f"{number} or fewer", lambda opened: opened <= number)


asks = [Ask(text="a"), Ask(text="b", size=3), Ask(text="c")]
failing = asks + [Ask(text="stop", status=9), Ask(text="never")]
one("unary", unary, asks[0])
several("server stream", server_stream, Ask(text="größer", messages=3))
several("empty server stream", server_stream, Ask())
one("client stream", client_stream, iter(asks))
one("empty client stream", client_stream, iter([]))
several("bidi", bidi, iter(asks))

for number in range(1, 17):
    one(f"status {number}", unary, Ask(status=number, text=f"50 % größer: {number}\n"))
several("failing server stream", server_stream, Ask(text="stop", status=9, messages=2))
one("failing client stream", client_stream, iter(failing))
several("failing bidi", bidi, iter(failing))
one("made-up method", method("MadeUp"), Ask())

health = health_pb2_grpc.HealthStub(channel)
for service in ("echo.v1.Echo", "grpc.health.v1.Health", ""):
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        print("health of", repr(service), health.Check(request, timeout=LIMIT).status)
    except grpc.RpcError as error:
        print("health of", repr(service), error.code(), error.details())

before = opened()
blocking = code_of(lambda: unary(Ask(block_ms=2000), timeout=0.5))
print("deadline of a call that blocks:", blocking)
assert blocking == grpc.StatusCode.DEADLINE_EXCEEDED
wait_until_closed(before)
in_stream = code_of(lambda: list(server_stream(Ask(block_ms=2000, block_at=1, messages=3), timeout=0.5)))
print("deadline of a stream that blocks:", in_stream)
assert in_stream == grpc.StatusCode.DEADLINE_EXCEEDED
wait_until_closed(before)

endless = server_stream(Ask(messages=2**32 - 1, wait_ms=5), timeout=LIMIT)
numbers = [next(endless).number for _ in range(3)]
before = opened() - 1
endless.cancel()
print("cancelled after", numbers, code_of(lambda: list(endless)))
wait_until_closed(before)
waiting = unary.future(Ask(wait_ms=3_600_000), timeout=LIMIT)
wait_until(f"{before + 1} or more", lambda opened: opened > before)
waiting.cancel()
wait_until_closed(before)

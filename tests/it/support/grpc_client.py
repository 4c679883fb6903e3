"""Tries every kind of call of `grpc_server.py`: grpc_client.py ADDRESS HOST [CA]. Prints `ok NAME` or what went wrong."""

import sys
import threading
import time
import traceback

import grpc

ADDRESS, HOST = sys.argv[1:3]
OPTIONS = [
    ("grpc.default_authority", HOST),
    ("grpc.ssl_target_name_override", HOST),
    ("grpc.max_receive_message_length", 16 << 20),
]


def channel():
    if len(sys.argv) > 3:
        with open(sys.argv[3], "rb") as file:
            return grpc.secure_channel(ADDRESS, grpc.ssl_channel_credentials(file.read()), OPTIONS)
    return grpc.insecure_channel(ADDRESS, OPTIONS)


def unary(to):
    answer, call = to.unary_unary("/test.Echo/Unary").with_call(b"abc", timeout=10, metadata=(("x-from", "me"),))
    assert answer == b"cba", answer
    assert ("x-initial", "i") in list(call.initial_metadata()), list(call.initial_metadata())
    trailing = list(call.trailing_metadata())
    assert ("x-trailing", "t") in trailing and ("x-bytes-bin", b"\x00\xff") in trailing, trailing
    for number in range(200):
        text = b"%d" % number
        assert to.unary_unary("/test.Echo/Unary")(text, timeout=10) == text[::-1]


def large(to):
    message = bytes(range(256)) * 16_000
    assert to.unary_unary("/test.Echo/Unary")(message, timeout=30) == message[::-1]


def server_stream(to):
    call = to.unary_stream("/test.Echo/ServerStream")(b"500", timeout=30)
    assert [int(part) for part in call] == list(range(500))
    assert ("x-count", "500") in list(call.trailing_metadata()), list(call.trailing_metadata())
    assert list(to.unary_stream("/test.Echo/ServerStream")(b"0", timeout=10)) == []


def client_stream(to):
    parts = (b"x" * 1000 for _ in range(300))
    assert to.stream_unary("/test.Echo/ClientStream")(parts, timeout=30) == b"300000"


def bidi(to):
    # Each message is sent only after the answer to the one before it came.
    answered = threading.Semaphore(1)

    def parts():
        for number in range(100):
            assert answered.acquire(timeout=10)
            yield b"m%d" % number

    answers = []
    for answer in to.stream_stream("/test.Echo/Bidi")(parts(), timeout=30):
        answers.append(answer)
        answered.release()
    assert answers == [b"M%d" % number for number in range(100)], answers


def status(to):
    try:
        to.unary_unary("/test.Echo/Status")(b"", timeout=10)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "not today: ü", error.details()
    try:
        to.unary_unary("/test.Echo/Nothing")(b"", timeout=10)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def deadline(to):
    begin = time.monotonic()
    try:
        to.unary_unary("/test.Echo/Sleep")(b"", timeout=0.4)
        raise AssertionError("no error")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    took = time.monotonic() - begin
    assert 0.3 < took < 3, took


def cancel(to):
    call = to.unary_stream("/test.Echo/Endless")(b"", timeout=30)
    for _ in range(20):
        next(call)
    call.cancel()
    assert to.unary_unary("/test.Echo/Unary")(b"ab", timeout=10) == b"ba"


def main():
    with channel() as to:
        for test in (unary, large, server_stream, client_stream, bidi, status, deadline, cancel):
            try:
                test(to)
                print("ok " + test.__name__, flush=True)
            except Exception:
                print("not well: " + test.__name__, flush=True)
                traceback.print_exc(file=sys.stdout)


main()

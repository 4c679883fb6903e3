"""A gRPC server without generated code: messages are bytes. Prints its port."""

import signal
import sys
import time
from concurrent import futures

import grpc


def unary(request, context):
    context.send_initial_metadata((("x-initial", "i"),))
    context.set_trailing_metadata((("x-trailing", "t"), ("x-bytes-bin", b"\x00\xff")))
    return request[::-1]


def server_stream(request, context):
    for number in range(int(request)):
        yield b"%d" % number
    context.set_trailing_metadata((("x-count", request.decode()),))


def client_stream(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def bidi(requests, context):
    for request in requests:
        yield request.upper()


def status(request, context):
    # No message and no initial metadata: the answer's head is its trailers.
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: ü")


def sleep(request, context):
    # The client's deadline reaches the server.
    assert context.time_remaining() is not None
    for _ in range(200):
        if not context.is_active():
            print("given up", flush=True)
            return b"late"
        time.sleep(0.05)
    return b"late"


def endless(request, context):
    context.add_callback(lambda: print("cancelled", flush=True))
    while context.is_active():
        yield b"x" * 1000
        time.sleep(0.001)


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
    "Status": grpc.unary_unary_rpc_method_handler(status),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.max_receive_message_length", 16 << 20)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", HANDLERS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("listening on port %d" % port, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.wait_for_termination()


main()

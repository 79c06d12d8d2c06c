"""An OTLP receiver (http/protobuf) that prints what it gets, as one line of JSON for each span and
each point of a metric. The messages are decoded by OpenTelemetry's own definitions; what they do not
define is an error.

The only argument is the port, 0 for a free one; the first line says which.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from opentelemetry.proto.trace.v1.trace_pb2 import Status

writing = threading.Lock()


def say(**line):
    with writing:
        print(json.dumps(line), flush=True)


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def spans(request):
    for resource in request.resource_spans:
        service = attributes(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                say(
                    span=span.name,
                    service=service,
                    scope=scope.scope.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    error=span.status.code == Status.STATUS_CODE_ERROR,
                    status=span.status.message,
                    attributes=attributes(span.attributes),
                )


def points(request):
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                for point in data.data_points:
                    common = dict(
                        metric=metric.name,
                        kind=kind,
                        unit=metric.unit,
                        help=metric.description,
                        labels=attributes(point.attributes),
                    )
                    if kind == "histogram":
                        say(**common, value=point.count, bounds=list(point.explicit_bounds))
                    else:
                        if kind == "sum":
                            assert data.is_monotonic, metric.name
                        say(**common, value=getattr(point, point.WhichOneof("value")))


KINDS = {
    "/v1/traces": (trace.ExportTraceServiceRequest, trace.ExportTraceServiceResponse, spans),
    "/v1/metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse, points),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["content-type"] == "application/x-protobuf", self.headers
        request, response, handle = KINDS[self.path]
        handle(request.FromString(body))
        answer = response().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
say(port=server.server_address[1])
server.serve_forever()

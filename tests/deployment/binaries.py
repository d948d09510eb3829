"""Measures each release binary: its size, the glibc that it needs, how fast it starts, and its memory.

Sizes, symbols and memory have limits. The times are only printed: they depend on the machine and its other load.
"""

import io
import json
import re
import socket
import statistics
import subprocess
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3

from common import REGION, ROOT, ROOT_KEY, Checks, bootstrap, functions, make_history, make_table, ministack

ZIPPED_BYTES = 2_500_000
# The version of Amazon Linux 2023, the base of provided.al2023.
GLIBC = (2, 34)
REQUESTS = 1_000
RESIDENT_MIB = 16
STARTS = 15
STACK = "binaries"


def zipped(path):
    """Returns the size of the archive that is deployed in bytes: the binary, deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(path, "bootstrap")
    return buffer.getbuffer().nbytes


def newest_glibc(path):
    """Returns the newest version of glibc that the binary's symbols require."""
    symbols = subprocess.run(["objdump", "-T", path], capture_output=True, text=True, check=True).stdout
    return max(tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+\.\d+)", symbols))


def spawn(path, runtime, url, table):
    """Starts a function under the Runtime API at this port, over a table in the DynamoDB at this URL."""
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime}",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "g",
        "AWS_LAMBDA_LOG_STREAM_NAME": "s",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": url,
        "TABLE_NAME": table,
        "HISTORY_TABLE": f"{table}.history",
        "STACK_NAME": STACK,
        "CUSTOM_RESOURCE_PORTS": "*/*",
    }
    return subprocess.Popen([path], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def starts(path, url, table):
    """Returns the milliseconds from spawning to the first call of the Runtime API, including opening the connection to DynamoDB."""
    times = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(STARTS):
            begun = time.perf_counter()
            process = spawn(path, listener.getsockname()[1], url, table)
            connection, _ = listener.accept()
            request = connection.recv(4096)
            times.append((time.perf_counter() - begun) * 1000)
            assert b"invocation/next" in request, request
            process.kill()
            process.wait()
            connection.close()
    return times


class Handler(BaseHTTPRequestHandler):
    """A Runtime API that hands out a list of events (*Lambda Developer Guide*, "Using the Lambda runtime API")."""

    protocol_version = "HTTP/1.1"
    # The head and the body of a response are two writes. With Nagle's algorithm the second one waits until the first is
    # acknowledged, which the function's machine delays by 40 ms: more than everything else in a request takes.
    disable_nagle_algorithm = True

    def do_GET(self):
        body = next(self.server.events, None)
        if body is None:
            self.server.done.set()
            time.sleep(3600)
        self.send_response(200)
        self.send_header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
        self.send_header("lambda-runtime-deadline-ms", str(int(time.time() * 1000) + 30_000))
        self.send_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:f")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        answer = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.statuses.append(answer.get("statusCode"))
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def serve(path, url, table, events):
    """Sends the events one after the other; returns the statuses, and the process's resident memory afterwards, in MiB."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.events, server.done, server.statuses = iter(events), threading.Event(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process = spawn(path, server.server_port, url, table)
    assert server.done.wait(300), f"{path} did not answer {len(events)} events in 300 s"
    status = open(f"/proc/{process.pid}/status").read()
    process.kill()
    process.wait()
    server.shutdown()
    return server.statuses, int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def requests(function):
    """Yields a thousand events for a function: its own sample each time, with a new name for each offer."""
    event = json.loads((ROOT / "events" / f"{function}.json").read_text())
    for number in range(REQUESTS):
        if function == "create-offer":
            event["headers"].pop("idempotency-key", None)
            event["body"] = json.dumps({"name": f"web-{number}"})
        yield json.dumps(event).encode()


def main():
    checks = Checks("binaries")
    with ministack("dynamodb") as url:
        dynamodb = boto3.client("dynamodb", endpoint_url=url, **ROOT_KEY)
        service = (ROOT / "events" / "create-service.json").read_bytes()
        print(f"{'function':16} {'bytes':>9} {'zipped':>9} {'glibc':>6} {'start ms, median (least)':>25} {'MiB after 1,000':>16}")
        for function in functions():
            # A table of its own with one service in it, so that no function has to list another one's items.
            path, table = bootstrap(function), f"of-{function}"
            make_table(dynamodb, table)
            make_history(dynamodb, f"{table}.history")
            statuses, _ = serve(bootstrap("create-service"), url, table, [service])
            assert statuses == [201], statuses
            size, packed, glibc, times = path.stat().st_size, zipped(path), newest_glibc(path), starts(path, url, table)
            # A run of the reconciler reads the whole table; a hundred of them are enough.
            events = list(requests(function))[: 100 if function == "reconcile" else None]
            _, resident = serve(path, url, table, events)
            glibc_name = ".".join(map(str, glibc))
            start = f"{statistics.median(times):.1f} ({min(times):.1f})"
            print(f"{function:16} {size:9,} {packed:9,} {glibc_name:>6} {start:>25} {resident:16.1f}", flush=True)
            checks.check(f"{function} is small", packed <= ZIPPED_BYTES, f"{packed:,} bytes zipped, limit {ZIPPED_BYTES:,}")
            checks.check(f"{function} runs on Amazon Linux 2023", glibc <= GLIBC, glibc_name)
            checks.check(f"{function} stays small in memory", resident <= RESIDENT_MIB, f"{resident:.1f} MiB, limit {RESIDENT_MIB}")
    checks.finish()


main()

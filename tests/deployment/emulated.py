"""Sends every event of events/ to the real release binary under AWS's Runtime Interface Emulator, over MiniStack's DynamoDB:
the same as `cargo test` under a Runtime API of its own, but with AWS's program in between and another DynamoDB below."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import boto3

from common import REGION, ROOT, ROOT_KEY, Checks, bootstrap, free_port, make_history, make_table, ministack

# The secret in the events; if an offer was made before, the offer's takes its place.
SECRET = "138886c0-5d3e-8b2a-9f04-2a1b0c3d4e5f"
RIE = next((ROOT / "target/venvs/aws/lib").glob("python3*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"))


def run(function, event, table, url):
    """Starts the function's binary under the emulator, sends one event, and returns the answer."""
    port, runtime = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": url,
        "TABLE_NAME": table,
        "HISTORY_TABLE": f"{table}.history",
        "STACK_NAME": "emulated",
        "CUSTOM_RESOURCE_PORTS": "*/*",
        "CUSTOM_RESOURCE_SERVICES": "*/*",
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "30",
    }
    command = [str(RIE), "--runtime-interface-emulator-address", f"127.0.0.1:{port}", "--runtime-api-address", f"127.0.0.1:{runtime}", str(bootstrap(function))]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations", event.encode())
        deadline = time.monotonic() + 20
        while True:
            try:
                return json.loads(urllib.request.urlopen(request, timeout=30).read())
            except urllib.error.URLError as error:
                # Not listening yet.
                if not isinstance(error.reason, ConnectionRefusedError) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main():
    checks = Checks("events under the emulator")
    folder = ROOT / "events"
    answers = json.loads((folder / "answers.json").read_text())
    with ministack("dynamodb") as url:
        dynamodb = boto3.client("dynamodb", endpoint_url=url, **ROOT_KEY)
        for number, (name, expected) in enumerate(answers.items()):
            table, secret = f"events-{number}", SECRET
            make_table(dynamodb, table)
            make_history(dynamodb, f"{table}.history")
            for step in [*expected.get("after", []), name]:
                event = (folder / f"{step}.json").read_text().replace(SECRET, secret)
                answer = run(step.split(".")[0], event, table, url)
                if step == "create-offer" and answer.get("statusCode") == 201:
                    secret = json.loads(answer["body"])["secret"]
            checks.check(f"{name}: status {expected['status']}", answer.get("statusCode") == expected["status"], answer)
            if "problem" in expected:
                kind = json.loads(answer["body"])["type"]
                checks.check(f"{name}: {expected['problem']}", kind == f"/problems/{expected['problem']}", answer)
            if "error" in expected:
                checks.check(f"{name}: an error", expected["error"] in answer.get("errorMessage", ""), answer)
            for member, value in {**expected.get("findings", {}), **expected.get("attributes", {})}.items():
                checks.check(f"{name}: {member}", answer.get(member) == value, answer)
    checks.finish()


main()

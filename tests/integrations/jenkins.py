"""The Jenkins recipe of docs/pipelines.md, as it stands there: the shell of its steps, one after the other, as Jenkins runs them (by
`sh -xe`, with the variables of a build), for two executors at a time, for a step that fails and for one that finds no port.

Needs the debug build of `portmaster` and `portmasterd`.
"""

import os
import pathlib
import re
import subprocess
import tempfile

from ground import PATIENCE, ROOT, Service, call, play
from standins import TARGET

PAGE = (ROOT / "docs" / "pipelines.md").read_text()
RECIPE = re.search(r"^For a stage with several steps:\n\n```groovy\n(.*?)^```$", PAGE, re.M | re.S)[1]


def build(url, number, executor, npm="true"):
    """Runs the stage as Jenkins would; returns what each step came to."""
    [take] = re.findall(r"script: '''(.*?)'''\)\.trim\(\)", RECIPE, re.S)
    inner = re.search(r"withEnv\(\[\"PORT=\$port\"\]\) \{(.*?)\}", RECIPE, re.S)[1]
    [post] = re.findall(r"post \{ always \{ sh '(.*?)' \} \}", RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "npm"
        program.write_text(f'#!/bin/sh\necho npm "$@" "PORT=$PORT"\n{npm}\n')
        program.chmod(0o755)
        known = {"JENKINS_URL": "https://ci.example.com/", "JOB_NAME": "shop/main", "BUILD_NUMBER": number, "STAGE_NAME": "Test"}
        known |= {"NODE_NAME": "agent-1", "EXECUTOR_NUMBER": executor, "PORTMASTER_URL": url}
        environment = {"PATH": f"{folder}:{TARGET}:{os.environ['PATH']}", "HOME": folder, **known}

        def sh(script, **more):
            ran = subprocess.run(["sh", "-xe"], input=script, env={**environment, **more}, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
            return ran.returncode, ran.stdout.strip(), ran.stderr

        results = [sh(take)]
        if results[0][0] == 0:
            for script in re.findall(r"sh '(.*?)'", inner):
                results.append(sh(script, PORT=results[0][1]))
                if results[-1][0] != 0:
                    break
        held = {item["name"]: item["port"] for item in call(f"{url}/v1/services/web/ports")[1]}
        return results, held, sh(post)


def recipe(checks, url):
    check, service = checks.check, Service(url, "web", size=2)
    check("the recipe leaves the registry's URL to the reader", "PORTMASTER_URL = 'https://ports.example.com'" in RECIPE, RECIPE)
    results, held, post = build(url, "17", "0")
    port = str(service.start)
    check("the steps find the port", [one[:2] for one in results] == [(0, port), (0, f"npm run migrate PORT={port}"), (0, f"npm test PORT={port}")], results)
    check("the name is the job's", held == {"shop-main-17-Test-agent-1-0": service.start}, held)
    check("post gives it back", post[0] == 0 and service.ports() == {}, post)
    results, held, post = build(url, "17", "0", npm="exit 3")
    check("a step that fails ends the stage", [one[0] for one in results] == [0, 3], results)
    check("and post gives the port back all the same", post[0] == 0 and service.ports() == {}, post)
    service.take("stranger")
    results, held, post = build(url, "17", "1")
    check("another executor has another port", results[0][1] == str(service.start + 1), results)
    service.take("another")
    results, held, post = build(url, "17", "0")
    check("without a port the stage fails, and says why", results[0][0] != 0 and "Every port of the range is taken" in results[0][2], results)
    check("post does not fail for it", post[0] == 0, post)
    check("strangers keep theirs", set(service.ports()) == {"stranger", "another"}, service.ports())


play("jenkins", [recipe])

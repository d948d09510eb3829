#!/usr/bin/env bash
# Runs the built functions in containers, as a user tries them: `sam local invoke` and `sam local start-api`. Needs a
# container engine; if none runs, one is started from Debian's docker.io, which needs root. If that is impossible, the
# script skips its checks, with exit code 0 and a line with SKIPPED and the reason.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2> /dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

skip() {
  echo "containers: SKIPPED, $*"
  exit 0
}

passed=0 failed=0
check() { # WHAT EXPECTED SEEN
  if [[ $3 == *"$2"* ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n  expected %s\n  saw %s\n' "$1" "$2" "$3" >&2
  fi
}

# An engine: the running one, or one of our own, without an init system and without touching the firewall.
if ! docker info > /dev/null 2>&1; then
  [[ $(id -u) == 0 ]] || skip "no container engine runs, and only root can start one"
  if ! command -v dockerd > /dev/null; then
    command -v apt-get > /dev/null || skip "no container engine, and no apt-get to install one"
    (apt-get update -qq && apt-get install -y -qq docker.io iptables) > "$work/apt" 2>&1 || skip "docker.io could not be installed: $(tail -1 "$work/apt")"
  fi
  export DOCKER_HOST=unix://$work/docker.sock
  dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" -H "$DOCKER_HOST" \
    --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false --bip 172.31.250.1/24 > "$work/dockerd" 2>&1 &
  pids+=($!)
  for _ in $(seq 100); do
    docker info > /dev/null 2>&1 && break
    kill -0 "${pids[0]}" 2> /dev/null || skip "dockerd did not start: $(grep -o 'msg=.*\|failed.*' "$work/dockerd" | tail -1)"
    sleep 0.2
  done
  docker info > /dev/null 2>&1 || skip "dockerd does not answer: $(tail -1 "$work/dockerd")"
fi
host=$(docker network inspect bridge --format '{{(index .IPAM.Config 0).Gateway}}')

# The base image: AWS's, if it can be pulled; else a stand-in with this machine's glibc. (binaries.py checks by their
# symbols that the binaries load on Amazon Linux.)
image=public.ecr.aws/lambda/provided:al2023
if ! timeout 60 docker pull --quiet "$image-x86_64" > /dev/null 2>&1; then
  echo "no base image to be had; a stand-in takes its place"
  command -v busybox > /dev/null || apt-get install -y -qq busybox-static > "$work/apt" 2>&1 || skip "busybox-static could not be installed"
  root=$work/root
  mkdir -p "$root"/{bin,lib64,lib/x86_64-linux-gnu,etc/pki/tls/certs,tmp,var/task,var/runtime,var/rapid,opt,proc,sys,dev,root}
  chmod 1777 "$root/tmp"
  cp -L "$(command -v busybox)" "$root/bin/busybox"
  for applet in sh mv chmod cp rm ls cat mkdir env id; do ln -s busybox "$root/bin/$applet"; done
  cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
  for library in libc.so.6 libm.so.6 libgcc_s.so.1 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libnss_dns.so.2 libnss_files.so.2; do
    cp -L "/lib/x86_64-linux-gnu/$library" "$root/lib/x86_64-linux-gnu/"
  done
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/pki/tls/certs/ca-bundle.crt"
  echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
  echo 'root:x:0:' > "$root/etc/group"
  echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
  tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin' \
    --change 'ENV LAMBDA_TASK_ROOT=/var/task' --change 'ENV LAMBDA_RUNTIME_DIR=/var/runtime' --change 'WORKDIR /var/task' \
    - "$image-x86_64" > /dev/null
  docker tag "$image-x86_64" "$image"
fi

# The database, at an address that the containers reach. SAM calls the template's table by its logical name, Table.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
target/release/portmasterd --in-memory --table Table --listen 127.0.0.1:0 --database-listen "$host:$port" > "$work/greeting" 2> "$work/log" &
pids+=($!)

PATH=$(.ci/venv aws):$PATH
export PATH SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-west-1 AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
# SAM asks STS for the caller's identity; nothing answers here, and SAM goes on.
export AWS_ENDPOINT_URL_STS=http://127.0.0.1:9 AWS_MAX_ATTEMPTS=1
arguments=(--skip-pull-image --parameter-overrides "DynamoDbEndpoint=http://$host:$port")

# As in the README of AWS SAM: one function, one event.
shown=$(sam local invoke CreateServiceFunction -e events/create-service.json "${arguments[@]}" 2> "$work/sam")
check "sam local invoke CreateServiceFunction" '"statusCode": 201' "$(python3 -m json.tool <<< "$(tail -1 <<< "$shown")" 2>&1) $(tail -3 "$work/sam")"
shown=$(sam local invoke CreateOfferFunction -e events/create-offer.json "${arguments[@]}" 2> "$work/sam")
check "sam local invoke CreateOfferFunction" '"statusCode": 201' "$(python3 -m json.tool <<< "$(tail -1 <<< "$shown")" 2>&1) $(tail -3 "$work/sam")"
shown=$(sam local invoke ReconcileFunction -e events/reconcile.json "${arguments[@]}" 2> "$work/sam")
check "sam local invoke ReconcileFunction" '"finished": true' "$(python3 -m json.tool <<< "$(tail -1 <<< "$shown")" 2>&1) $(tail -3 "$work/sam")"

# The whole API.
listen=$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
sam local start-api --port "$listen" --warm-containers LAZY "${arguments[@]}" > "$work/start-api" 2>&1 &
pids+=($!)
api=http://127.0.0.1:$listen
for _ in $(seq 150); do curl -s -o /dev/null "$api/health" && break; sleep 0.4; done
check "GET /health" '{"status":"ok"}' "$(curl -sS "$api/health")"
check "the service made above" '"start":5000,"end":5999' "$(curl -sS "$api/v1/services/django")"
check "a problem" /problems/name-taken "$(curl -sS --json '{"name": "web-01"}' "$api/v1/services/django/offers")"
offer=$(curl -sS --json '{"name": "web-02"}' "$api/v1/services/django/offers")
check "an offer" '"port":5001' "$offer"
secret=$(sed -n 's/.*"secret":"\([^"]*\)".*/\1/p' <<< "$offer")
check "accepted" '"port":5001' "$(curl -sS -X POST "$api/v1/services/django/offers/$secret/accept")"
check "found" '"name":"web-02"' "$(curl -sS "$api/v1/ports/5001")"
check "released" 204 "$(curl -sS -o /dev/null -w '%{http_code}' -X DELETE "$api/v1/services/django/ports/web-02")"
if ((failed)); then tail -20 "$work/start-api" >&2; fi
echo "containers: $passed passed, $failed failed"
exit $((failed > 0))

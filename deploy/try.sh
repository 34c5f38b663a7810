#!/bin/bash
# A cloud of separate processes to try: one API, one superconductor, and two cells with a conductor and two agents
# each, over a PostgreSQL, RabbitMQ and Docker Engine of its own (services.sh). It runs until Ctrl-C and leaves nothing.
#
#   try.sh [DIR] [PORT]   DIR for everything that it makes, must not exist (or nothing: one below /tmp); PORT of the
#                         API on 127.0.0.1 (or nothing: 8774)
#
# Needs root and what setup.sh installs. SKEP names the binary, else the newest one below target is taken.
# DIR/skep.env holds endpoint and token, DIR/NAME.log what each process wrote, DIR/NAME.pid its id.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "try: $*" >&2; }
die() { say "$*"; exit 1; }
skep=${SKEP:-$(ls -t target/release/skep target/debug/skep 2>/dev/null | head -n 1 || true)}
[ -x "${skep:-}" ] || die "there is no binary: run cargo build --release -p skep, or set SKEP"
dir=$(realpath -m "${1:-$(mktemp -u /tmp/skep-try.XXXXXX)}") port=${2:-8774}
[ ! -e "$dir" ] || die "$dir exists: name a folder that does not"
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then die "port $port is in use: name another, as in: try.sh $dir 18774"; fi

pids=()
clean() {
  trap '' INT TERM
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" || true; done
  deploy/services.sh down "$dir/s" || true
  rm -rf "$dir"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
start() { # start NAME ROLE: with the configuration DIR/NAME.toml
  "$skep" "$2" --config "$dir/$1.toml" >"$dir/$1.log" 2>&1 </dev/null &
  pids+=($!)
  echo $! >"$dir/$1.pid"
}

mkdir -p "$dir"
chmod 755 "$dir"
deploy/services.sh up "$dir/s" || die "the services did not start"
. "$dir/s/env"
for name in api cell0 cell1 cell2; do deploy/services.sh database "$dir/s" "$name"; done
deploy/services.sh vhost "$dir/s" api cell1 cell2

token=$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')
(
  umask 077
  printf 'SKEP_ENDPOINT=http://127.0.0.1:%s\nSKEP_TOKEN=%s\n' "$port" "$token" >"$dir/skep.env"
  cat >"$dir/api.toml" <<TOML
[api]
listen = "127.0.0.1:$port"
images = ["skep/web:1"]
[[api.tokens]]
token = "$token"
user = "operator"
project = "try"
roles = ["admin"]
[api_database]
url = "$SKEP_TEST_PG/api"
[cell0.database]
url = "$SKEP_TEST_PG/cell0"
[api_transport]
url = "$SKEP_TEST_AMQP/api"
TOML
  cp "$dir/api.toml" "$dir/superconductor.toml"
  for cell in cell1 cell2; do
    printf '[cell]\nname = "%s"\n[cell.transport]\nurl = "%s/%s"\n' "$cell" "$SKEP_TEST_AMQP" "$cell" >"$dir/$cell.toml"
    for host in h1 h2; do
      mkdir "$dir/$cell-$host"
      # An agent holds no credential of a database. One engine under all hosts: they share its ports and its name.
      cat "$dir/$cell.toml" - >"$dir/$cell-$host.toml" <<TOML
[agent]
host_name = "$cell-$host"
engine_url = "$SKEP_TEST_DOCKER"
engine_name = "shared"
state_dir = "$dir/$cell-$host"
join_token_file = "$dir/$cell-$host/join-token"
capacity = { vcpus = 50, memory_mib = 8192, instances = 50 }
TOML
    done
    printf '[cell.database]\nurl = "%s/%s"\n' "$SKEP_TEST_PG" "$cell" >>"$dir/$cell.toml"
  done
)

"$skep" db sync --config "$dir/api.toml" >&2
for cell in cell1 cell2; do
  "$skep" db sync --config "$dir/$cell.toml" >&2
  "$skep" cell create --config "$dir/api.toml" --name $cell --region here --state active \
    --database-url "$SKEP_TEST_PG/$cell" --transport-url "$SKEP_TEST_AMQP/$cell" >&2
  # Each is good for one host, once.
  for host in h1 h2; do
    (umask 077; "$skep" host join-token --config "$dir/api.toml" --cell $cell >"$dir/$cell-$host/join-token")
  done
done
start api api
start superconductor superconductor
for cell in cell1 cell2; do
  start $cell conductor
  for host in h1 h2; do start $cell-$host agent; done
done

ready() {
  curl -sf --noproxy '*' --max-time 5 -H "X-Auth-Token: $token" "http://127.0.0.1:$port/admin/v1/status" \
    | grep -q '"hosts_ready": *4'
}
for _ in $(seq 300); do
  if ready; then break; fi
  for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null || { tail -n 5 "$dir"/*.log >&2; die "a process ended"; }; done
  sleep 0.2
done
ready || { tail -n 5 "$dir"/*.log >&2; die "not every host is ready after 60 s"; }
cat <<TEXT
ready: 2 cells, 4 hosts, ${#pids[@]} processes
endpoint  http://127.0.0.1:$port
token     $token

Paste into another terminal:
  set -a; . $dir/skep.env; set +a
  $(realpath "$skep") run --name web --publish 8080 --wait skep/web:1
  $(realpath "$skep") ps --output wide

Ctrl-C ends it.
TEXT
# A process that ends (kill one, to see) is told of; the others go on, as they would anywhere.
while [ -n "$(ls "$dir"/*.pid 2>/dev/null)" ]; do
  sleep 1
  for file in "$dir"/*.pid; do
    kill -0 "$(cat "$file")" 2>/dev/null || { say "$(basename "$file" .pid) has ended"; rm -f "$file"; }
  done
done
die "all processes have ended"

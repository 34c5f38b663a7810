#!/bin/bash
# The main job in one command, on Debian 12 with a Rust toolchain, as root: a cloud of three cells comes up, containers
# run in several of them, a list shows them, one cell goes dark and the list still answers.
#
#   deploy/demo.sh           show it and clean up
#   deploy/demo.sh --stay    show it and leave the cloud running until Ctrl-C
set -euo pipefail
cd "$(dirname "$0")/.."
stay=${1:-}

step() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
# What failed is told; what is expected to tell of a dark cell (exit code 3) is not a failure.
partial() { printf '$ %s\n' "$*"; "$@" || [ $? = 3 ]; }

step "What is missing is installed, and skep is built"
deploy/setup.sh
cargo build --locked -p skep
skep=${CARGO_TARGET_DIR:-target}/debug/skep

dir=$(mktemp -d /tmp/skep-demo.XXXXXX)
cloud=
clean() {
  if [ -n "$cloud" ]; then kill -INT "$cloud" 2>/dev/null || true; wait "$cloud" 2>/dev/null || true; fi
  deploy/services.sh down "$dir/services" >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "A Docker Engine of its own, with a small image made here"
deploy/services.sh up "$dir/services" 0 docker
engine=$(sed -n 's/^SKEP_TEST_DOCKER=//p' "$dir/services/env")

step "A cloud: two regions, three cells, six hosts"
"$skep" dev --dir "$dir/cloud" --listen 127.0.0.1:0 --engine docker --engine-url "$engine" >"$dir/log" 2>&1 &
cloud=$!
for _ in $(seq 300); do
  if [ -s "$dir/cloud/skep.env" ] && grep -q 'ready in' "$dir/log"; then break; fi
  kill -0 "$cloud" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
  sleep 0.1
done
cat "$dir/log"
. "$dir/cloud/skep.env"

step "Six containers, each with its port published"
for n in 1 2 3 4 5 6; do show "$skep" run --name "web$n" --publish 8080 --wait skep/web:1; done
show "$skep" ps --output wide
show "$skep" status

step "One of them answers"
address=$("$skep" show web1 --output json | sed -n 's/.*"host": *\([0-9]*\).*/127.0.0.1:\1/p' | head -n 1)
show curl -sS --noproxy '*' --max-time 5 "http://$address/"

step "cell2 goes dark; the list still answers, and says so"
show "$skep" dev cell down cell2 --dir "$dir/cloud"
partial "$skep" ps
partial "$skep" run --name after --wait skep/web:1

step "cell2 comes back"
show "$skep" dev cell up cell2 --dir "$dir/cloud"
show "$skep" ps

if [ "$stay" = --stay ]; then
  step "It runs on. In another terminal: . $dir/cloud/skep.env; $skep ps. Ctrl-C ends it."
  wait "$cloud"
fi
step "Done: everything is removed"

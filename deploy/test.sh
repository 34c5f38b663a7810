#!/bin/bash
# The whole test suite: format, lints, build, tests – with PostgreSQL, RabbitMQ and Docker Engine beside it.
#
# Needs root and what setup.sh installs. Services are started in a folder of their own and stopped at the end. To
# keep them between runs, start them once (deploy/services.sh up DIR) and set SKEP_TEST_SERVICES=DIR.
set -euo pipefail
cd "$(dirname "$0")/.."

phase() { # phase NAME COMMAND…: runs it and says how long it took
  local name=$1 start=$SECONDS; shift
  echo "== $name"
  "$@" || { echo "== $name failed after $((SECONDS - start)) s" >&2; exit 1; }
  echo "== $name took $((SECONDS - start)) s"
}
stop_services() { phase "stop services" deploy/services.sh down "$own"; }

phase format cargo fmt --all --check
phase lints cargo clippy --workspace --all-targets --locked -- -D warnings
# One build for the tests and for the binary that stories start, so that both agree on the features of what they link.
phase build cargo build --workspace --all-targets --locked

if [ -z "${SKEP_TEST_SERVICES:-}" ]; then
  own=$(mktemp -d /tmp/skep-test.XXXXXX)
  trap stop_services EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  phase services deploy/services.sh up "$own"
  SKEP_TEST_SERVICES=$own
fi
set -a
. "$SKEP_TEST_SERVICES/env"
set +a
phase tests cargo test --workspace --locked

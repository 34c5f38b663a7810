#!/bin/bash
# The agent's tests on a Docker Engine that writes packet filter rules, as an installed engine does.
#
# The engine of the other tests writes none, because rules are shared with whatever else runs on the machine; projects are
# kept apart there by giving containers no way out. Here engine and tests have a network namespace of their own. Needs
# root and what setup.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${SKEP_ENGINE_FILTERS:-}" ]; then
  export SKEP_ENGINE_FILTERS=1
  exec unshare --net "deploy/$(basename "$0")"
fi
ip link set lo up
dir=$(mktemp -d /tmp/skep-filters.XXXXXX)
trap 'deploy/services.sh down "$dir"' EXIT
deploy/services.sh up "$dir" 20000 docker
set -a
. "$dir/env"
set +a
cargo test --locked --offline -p agent --test docker

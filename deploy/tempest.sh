#!/bin/bash
# All of tempest's compute, identity and image suites against a cloud of three cells: PostgreSQL, RabbitMQ and Docker
# Engine, each role a process of its own. Takes about five minutes on two cores. tests/tempest/excluded.txt says what
# does not pass, and why; the end is 1 if something else fails, or if one of those passes.
#
# With `dark`, sixty of them (tests/tempest/dark.txt) while one of the three cells is dark from the start.
#
# Needs root and what setup.sh installs. Services are started in a folder of their own and stopped at the end, or are
# those of SKEP_TEST_SERVICES (deploy/services.sh up DIR). To judge a cloud that runs already, see tests/tempest/run.py.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${SKEP_TEST_SERVICES:-}" ]; then
  own=$(mktemp -d /tmp/skep-tempest.XXXXXX)
  trap 'deploy/services.sh down "$own"' EXIT
  deploy/services.sh up "$own"
  SKEP_TEST_SERVICES=$own
fi
set -a
. "$SKEP_TEST_SERVICES/env"
set +a
cargo build --locked --package skep
case ${1:-} in
  '') which=all_of_tempest ;;
  dark) which=sixty_with_a_dark_cell ;;
  *) echo "tempest.sh [dark]" >&2; exit 2 ;;
esac
cargo test --locked --package tests --test clients -- --ignored --exact "tempest::$which"

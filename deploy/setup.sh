#!/bin/bash
# Installs what the tests need on Debian 12: PostgreSQL, RabbitMQ, Docker Engine, a static busybox, small tools, and
# the OpenStack clients of clients.txt in a folder of their own below Cargo's target (nothing of Python's is changed).
# Run it as root. It installs only what is missing, and starts none of it: services.sh starts private copies.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive LC_ALL=C

packages=(postgresql rabbitmq-server docker.io busybox-static iproute2 procps curl iptables
  util-linux ca-certificates gcc libc6-dev python3 python3-venv)
die() { echo "setup: $*" >&2; exit 1; }
missing() {
  local p
  for p in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q '^install ok installed$' || echo "$p"
  done
}
retry() { local n; for n in 1 2 3; do "$@" && return; echo "setup: attempt $n failed: $*" >&2; sleep $((n * 5)); done; return 1; }

command -v apt-get >/dev/null || die "this is not Debian: install the counterparts of ${packages[*]} by hand"
command -v cargo >/dev/null || die "a Rust toolchain is needed: see https://rustup.rs"
for part in fmt clippy; do
  if cargo "$part" --version >/dev/null 2>&1; then continue; fi
  command -v rustup >/dev/null || die "cargo $part is missing from this Rust toolchain"
  rustup component add "${part/fmt/rustfmt}"
done

mapfile -t wanted < <(missing)
if [ ${#wanted[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || die "run this as root, to install ${wanted[*]}"
  # This file keeps packages from starting their services (invoke-rc.d asks it); one that is there stays.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
  fi
  apt=(apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  retry "${apt[@]}" update
  retry "${apt[@]}" install --no-install-recommends "${wanted[@]}"
fi
for program in runuser setsid flock ip ss pgrep kill dockerd docker containerd busybox curl cc; do
  command -v "$program" >/dev/null || die "$program is still missing"
done

target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
clients=$target/clients
install_clients() {
  rm -rf "$clients"
  mkdir -p "$target"
  /usr/bin/python3 -m venv "$clients"
  "$clients/bin/pip" install --quiet --disable-pip-version-check --retries 5 -r deploy/clients.txt
}
# The list lies in the folder once all of it is installed.
if ! cmp -s deploy/clients.txt "$clients/installed.txt"; then
  retry install_clients
  cp deploy/clients.txt "$clients/installed.txt"
fi

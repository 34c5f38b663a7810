#!/bin/bash
# A private PostgreSQL, RabbitMQ and Docker Engine for tests, beside whatever else runs on this machine.
#
#   services.sh up DIR [BASEPORT] [pg] [rabbit] [docker]   start them (all three unless named); safe to repeat
#   services.sh down DIR                                   stop them and remove DIR
#   services.sh start|stop|kill|freeze|thaw|restart-pg|rabbit|docker DIR     one of them, as in `kill-rabbit DIR`
#   services.sh database|drop-database DIR NAME            create or drop a PostgreSQL database (UTF8, C collation)
#   services.sh query DIR DATABASE SQL                     run SQL; one line a row, columns parted by tabs
#   services.sh vhost DIR NAME…                            create RabbitMQ vhosts that guest may use
#   services.sh user DIR NAME PASSWORD VHOST…              create a RabbitMQ user that may use these vhosts
#   services.sh password DIR NAME PASSWORD                 give a RabbitMQ user another password
#   services.sh permit DIR NAME VHOST CONFIGURE WRITE READ give a RabbitMQ user other permissions there: regular expressions
#   services.sh management DIR on|off                      RabbitMQ's management API until it stops; prints its URL
#   services.sh connections DIR VHOST                      list the users of a vhost's connections, one a line
#   services.sh empty-vhost DIR VHOST…                     delete vhosts and make them anew, as an empty broker would be
#   services.sh alarm DIR on|off                           RabbitMQ's memory alarm, which blocks whoever publishes
#   services.sh purge|queues DIR VHOST                     empty all queues of a vhost; list name, messages, consumers
#
# Everything lies in DIR, and on the ports BASEPORT … BASEPORT+99 of 127.0.0.1 (0 or nothing: a free base is
# picked). DIR/env holds what tests need, as lines that a shell can source. Needs root and what setup.sh installs.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY
# Whether the engine writes packet filter rules, as it does by itself; only in a network namespace of its own (filters.sh).
FILTERS=${SKEP_ENGINE_FILTERS:-}

say() { echo "services: $*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
# Is this process there and not a zombie? (kill -0 says yes to zombies, which a careless init never reaps.)
alive() { local s; s=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/${1:-none}/status" 2>/dev/null) && [ -n "$s" ] && [ "$s" != Z ]; }
dead() { ! alive "$1"; }
pid_in() { head -n 1 "$1" 2>/dev/null || true; }
# until_ok SECONDS COMMAND…: runs it until it succeeds; fails at the deadline.
until_ok() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do [ $SECONDS -lt "$end" ] || return 1; sleep 0.1; done
}
# end PID SIGNAL SECONDS: signals, waits, and kills what is left at the deadline.
end() {
  alive "$1" || return 0
  kill "-$2" "$1" 2>/dev/null || true
  until_ok "$3" dead "$1" || { kill -KILL "$1" 2>/dev/null || true; until_ok 5 dead "$1"; }
}
locked() { exec 9>/tmp/.skep-services.lock; flock -w 60 9 || die "another services.sh holds /tmp/.skep-services.lock"; }
unlocked() { exec 9>&-; }

# --- which ports and addresses ---------------------------------------------------------------------------------

free_base() { [ -z "$(ss -Hltn "sport >= :$1 and sport < :$(($1 + 100))")" ] && ! ip link show "skep$1" >/dev/null 2>&1; }
# Picks the base port once and holds it with a bridge of that name, which no second caller can create.
claim_ports() {
  locked
  if [ "$1" = 0 ]; then
    for P in $(seq 20000 100 29900 | shuf); do if free_base "$P"; then break; else P=; fi; done
    [ -n "$P" ] || die "no 100 free ports between 20000 and 29999"
  else
    P=$1; free_base "$P" || die "ports $P to $((P + 99)) or the bridge skep$P are in use: name another BASEPORT, or none"
  fi
  BR=skep$P; add_bridge
  echo "$P" >"$D/port"
  unlocked
}
# The alias says whose it is.
add_bridge() {
  ip link add "$BR" type bridge && ip link set "$BR" alias "$D" || die "cannot create a network bridge: this needs root with CAP_NET_ADMIN"
}
# Gives the bridge an address in the first free eighth of 198.18.0.0/15 (set aside for test beds, RFC 2544).
claim_addresses() {
  ip link show "$BR" >/dev/null 2>&1 || add_bridge # it is gone after a restart of the machine
  ip -4 -o addr show dev "$BR" | grep -q inet && return
  locked
  free_pool || { take_back_pools; free_pool; } || die "eight engines for tests run here already; stop one with: services.sh down DIR"
  ip addr add "$(sed 's/\.0\/18$/.1\/25/' <<<"$POOL")" dev "$BR"; ip link set "$BR" up
  echo "$POOL" >"$D/pool"; unlocked
  [ -z "$FILTERS" ] || return 0
  # Two networks of this engine must not reach each other through this machine, as the engine's own firewall rules
  # would see to. Those rules are switched off, because they are shared with any other engine here.
  ip rule add from "$POOL" to "$POOL" iif lo lookup main pref $((P + 1))
  ip rule add from "$POOL" to "$POOL" blackhole pref $((P + 2))
}
pools() { local n; for n in 0 64 128 192 256 320 384 448; do echo 198.$((18 + n / 256)).$((n % 256)).0/18; done; }
free_pool() { for POOL in $(pools); do [ -n "$(ip -4 -o addr show to "$POOL")" ] || return 0; done; return 1; }
# Who was killed cannot give its addresses back: an engine that is dead, and for which no services.sh was called for
# a quarter of an hour (a test may kill its engine for a while), loses them to the next.
take_back_pools() {
  local pool owner dir
  for pool in $(pools); do
    owner=$(ip -4 -o addr show to "$pool" | awk '$2 ~ /^skep[0-9]+$/ { print $2; exit }')
    [ -n "$owner" ] && ! pgrep -f "default-address-pool base=$pool," >/dev/null || continue
    dir=$(cat "/sys/class/net/$owner/ifalias")
    [ -z "$(find "${dir:-/none}/used" -mmin -15 2>/dev/null)" ] || continue
    say "the engine of $owner${dir:+ in $dir} is dead: its addresses $pool are taken back"
    give_back "$pool" "${owner#skep}"
  done
}
# give_back POOL BASEPORT: removes what is left of an engine's networks.
give_back() {
  local link p
  for p in 1 2; do ip rule del pref $(($2 + p)) 2>/dev/null || true; done
  for link in $(ip -4 -o addr show to "$1" | awk '{ print $2 }' | sort -u); do ip link del "$link" 2>/dev/null || true; done
}

# --- PostgreSQL ------------------------------------------------------------------------------------------------

pg_bin() { ls -d /usr/lib/postgresql/*/bin/"$1" 2>/dev/null | sort -V | tail -n 1 | grep . || die "PostgreSQL is missing: run deploy/setup.sh"; }
pg_main() { pid_in "$D/pg/data/postmaster.pid"; }
pg_pids() { local p; p=$(pg_main); [ -n "$p" ] && echo "$p" && pgrep -P "$p" || true; }
start_pg() {
  alive "$(pg_main)" && return
  if [ ! -f "$D/pg/data/PG_VERSION" ]; then
    install -d -o postgres -g postgres -m 700 "$D/pg"
    runuser -u postgres -- test -x "$D/pg" || die "user postgres cannot reach $D: choose a folder that all may walk"
    runuser -u postgres -- "$(pg_bin initdb)" -D "$D/pg/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$D/pg/initdb.log" 2>&1 \
      || { tail -n 20 "$D/pg/initdb.log" >&2; die "initdb failed"; }
  fi
  rm -f "$D/pg/data/postmaster.pid" "$D"/pg/.s.PGSQL.* # what a killed one left; its pid may be a zombie
  runuser -u postgres -- "$(pg_bin pg_ctl)" -D "$D/pg/data" -l "$D/pg/log" -w -t 60 \
    -o "-p $((P + 1)) -c listen_addresses=127.0.0.1 -c unix_socket_directories=$D/pg -c max_connections=400" start >/dev/null \
    || { tail -n 20 "$D/pg/log" >&2; die "PostgreSQL did not start"; }
}
stop_pg() { end "$(pg_main)" INT 30; }
kill_pg() { local p; for p in $(pg_pids); do kill -KILL "$p" 2>/dev/null || true; done; until_ok 10 dead "$(pg_main)"; }
psql() { timeout 60 "$(pg_bin psql)" -X -q -A -t -F $'\t' -v ON_ERROR_STOP=1 -h 127.0.0.1 -p $((P + 1)) -U postgres -d "$1" -c "$2"; }

# --- RabbitMQ --------------------------------------------------------------------------------------------------

rabbit_main() { pid_in "$D/rabbit/pid"; }
rabbit_pids() { rabbit_main; }
# The scripts in lib are called, because the wrappers in /usr/sbin switch user and folder.
rabbit_env() {
  local R=$D/rabbit sbin
  sbin=$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2>/dev/null | sort -V | tail -n 1)
  [ -n "$sbin" ] || die "RabbitMQ is missing: run deploy/setup.sh"
  PATH=$sbin:$PATH
  export HOME=$R RABBITMQ_NODENAME=skep$P@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$((P + 2)) \
    RABBITMQ_DIST_PORT=$((P + 3)) ERL_EPMD_PORT=$((P + 4)) ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_CTL_DIST_PORT_MIN=$((P + 10)) RABBITMQ_CTL_DIST_PORT_MAX=$((P + 99)) \
    RABBITMQ_MNESIA_BASE=$R/mnesia RABBITMQ_LOG_BASE=$R/log RABBITMQ_PID_FILE=$R/pid RABBITMQ_CONFIG_FILE=$R/rabbitmq.conf \
    RABBITMQ_ENABLED_PLUGINS_FILE=$R/plugins RABBITMQ_CONF_ENV_FILE=/dev/null \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}'
}
start_rabbit() ( # a subshell: its environment is its own
  alive "$(rabbit_main)" && exit
  rabbit_env
  mkdir -p "$D/rabbit/mnesia" "$D/rabbit/log"; echo '[].' >"$D/rabbit/plugins"; echo 'log.console = false' >"$D/rabbit/rabbitmq.conf"
  rm -f "$D/rabbit/pid"
  setsid rabbitmq-server >"$D/rabbit/out" 2>&1 </dev/null &
  until_ok 30 test -s "$D/rabbit/pid" && rabbitmqctl -q wait --timeout 90 "$D/rabbit/pid" >/dev/null \
    || { tail -n 20 "$D/rabbit/out" "$D"/rabbit/log/*.log >&2; die "RabbitMQ did not start"; }
)
stop_rabbit() { end "$(rabbit_main)" TERM 30; }
kill_rabbit() { local p; p=$(rabbit_main); kill -KILL "$p" 2>/dev/null || true; until_ok 10 dead "$p"; }
rabbit_eval() ( rabbit_env; timeout 60 rabbitmqctl -q eval "$1" >/dev/null )
vhost_names() { local names= v; for v in "$@"; do vhost_name "$v"; names+=${names:+,}"<<\"$v\">>"; done; echo "$names"; }
make_vhosts() {
  rabbit_eval "[begin case rabbit_vhost:exists(V) of true -> ok; false -> rabbit_vhost:add(V, <<\"tests\">>) end,
    ok = rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>) end || V <- [$(vhost_names "$@")]]."
}
vhost_name() { [[ $1 =~ ^[A-Za-z0-9._-]+$ ]] || die "'$1' is no name for a vhost: use letters, digits, dot, dash, underscore"; }

# --- Docker Engine ---------------------------------------------------------------------------------------------

docker_main() { pid_in "$D/docker/pid"; }
docker_pids() { docker_main; }
docker_cli() { timeout 60 env DOCKER_CONFIG="$D/docker/cli" docker -H "unix://$D/docker/sock" "$@"; }
# containerd is ours as well: dockerd would otherwise use one that the machine happens to run.
start_containerd() {
  alive "$(pid_in "$D/docker/containerd.pid")" && return
  mkdir -p "$D/docker"
  printf 'version = 2\nroot = "%s"\nstate = "%s"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "%s"\n[ttrpc]\naddress = "%s"\n' \
    "$D/docker/containerd" "$D/docker/run" "$D/docker/c.sock" "$D/docker/c.sock.ttrpc" >"$D/docker/containerd.toml"
  setsid containerd --config "$D/docker/containerd.toml" >"$D/docker/containerd.log" 2>&1 </dev/null &
  echo $! >"$D/docker/containerd.pid"
  until_ok 30 test -S "$D/docker/c.sock" || { tail -n 20 "$D/docker/containerd.log" >&2; die "containerd did not start"; }
}
start_docker() {
  alive "$(docker_main)" && return
  claim_addresses; start_containerd
  echo '{}' >"$D/docker/daemon.json"; rm -f "$D/docker/pid"
  local filters=(--iptables=false --ip6tables=false --ip-masq=false --ip-forward=false)
  [ -z "$FILTERS" ] || filters=()
  # Its own bridge: `--bridge none` would delete the docker0 of another engine.
  setsid dockerd --config-file "$D/docker/daemon.json" --data-root "$D/docker/data" --exec-root "$D/docker/exec" \
    --pidfile "$D/docker/pid" --host "unix://$D/docker/sock" --containerd "$D/docker/c.sock" --live-restore \
    --bridge "$BR" --default-address-pool "base=$(cat "$D/pool"),size=25" \
    "${filters[@]}" >>"$D/docker/log" 2>&1 </dev/null &
  until_ok 60 docker_cli version || { tail -n 20 "$D/docker/log" >&2; die "Docker Engine did not start"; }
}
stop_docker() { end "$(docker_main)" TERM 30; }
kill_docker() { local p; p=$(docker_main); kill -KILL "$p" 2>/dev/null || true; until_ok 10 dead "$p"; }
# skep/web:1 serves "skep" on 8080 and has the few commands that tests run inside; skep/log:1 also writes a dozen lines
# to its log first. An engine that answers a ping may still be unable to run anything, so a container of it is run.
make_image() {
  local root=$D/image a
  docker_cli image inspect skep/web:1 skep/log:1 >/dev/null 2>&1 && return
  mkdir -p "$root"/{bin,etc,www,root,proc,sys,dev}; install -d -m 1777 "$root/tmp"
  cp "$(command -v busybox)" "$root/bin/busybox"; chmod 755 "$root/bin/busybox"
  for a in sh httpd nc wget sleep cat echo env ls ps kill id hostname ip test true false head tail touch mkdir rm dd date; do
    ln -sf busybox "$root/bin/$a"
  done
  echo skep >"$root/www/index.html"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
  # Without these lines a static busybox looks for libraries that are not there, and its wget crashes.
  printf 'hosts: files\nservices: files\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
  tar -C "$root" -c . | docker_cli import --change 'CMD ["/bin/httpd","-f","-p","8080","-h","/www"]' --change 'EXPOSE 8080' - skep/web:1 >/dev/null
  tar -C "$root" -c . | docker_cli import --change 'CMD ["/bin/sh","-c","for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $n; done; exec httpd -f -p 8080 -h /www"]' - skep/log:1 >/dev/null
  [ "$(docker_cli run --rm --init skep/web:1 echo works)" = works ] || { tail -n 20 "$D/docker/log" >&2; die "Docker Engine answers but cannot run a container"; }
}
# Containers outlive a dead engine; it is started once more to take them away.
remove_docker() {
  local ids mounts
  if [ -d "$D/docker/data" ] && ( start_docker ); then
    ids=$(docker_cli ps -aq) && [ -n "$ids" ] && docker_cli rm -f $ids >/dev/null || true
    docker_cli network prune -f >/dev/null || true
  fi
  stop_docker
  end "$(pid_in "$D/docker/containerd.pid")" TERM 10
  mounts=$(cut -d' ' -f2 /proc/mounts | grep "^$D/docker/" | sort -r) && umount -l $mounts || true
}

# --- all of them -----------------------------------------------------------------------------------------------

up() {
  local base=0 parts
  rabbit=
  if [[ ${1:-} =~ ^[0-9]+$ ]]; then base=$1; shift; fi
  parts=${*:-pg rabbit docker}
  [ "$(id -u)" = 0 ] || die "run this as root: the engine needs it, and PostgreSQL runs as user postgres"
  [ ${#D} -le 60 ] || die "$D is too long a path: sockets lie in it, and their names end at 108 bytes"
  mkdir -p "$D"; chmod 755 "$D"
  touch "$D/used"
  [ -f "$D/port" ] || claim_ports "$base"
  P=$(cat "$D/port"); BR=skep$P
  trap '[ -z "$rabbit" ] || wait "$rabbit" || true' EXIT # else a `down` after a failure would miss it
  for part in $parts; do
    case $part in
      rabbit) start_rabbit & rabbit=$! ;;
      pg) ;; docker) ;; *) usage ;;
    esac
  done
  case " $parts " in *' pg '*) start_pg ;; esac
  case " $parts " in *' docker '*) start_docker; make_image ;; esac
  [ -z "$rabbit" ] || wait "$rabbit"
  {
    echo "SKEP_TEST_SERVICES=$D"
    echo "SKEP_TEST_REQUIRE=1"
    [ ! -d "$D/pg" ] || echo "SKEP_TEST_PG=postgres://postgres@127.0.0.1:$((P + 1))"
    [ ! -d "$D/rabbit" ] || echo "SKEP_TEST_AMQP=amqp://guest:guest@127.0.0.1:$((P + 2))"
    [ ! -d "$D/docker" ] || echo "SKEP_TEST_DOCKER=unix://$D/docker/sock"
  } >"$D/env.new"
  mv "$D/env.new" "$D/env"
}
down() {
  local part p
  for part in pg rabbit docker; do for p in $("${part}_pids"); do kill -CONT "$p" 2>/dev/null || true; done; done
  remove_docker
  stop_rabbit
  ( [ ! -d "$D/rabbit" ] || { rabbit_env; epmd -kill >/dev/null 2>&1 || true; } )
  stop_pg
  [ ! -f "$D/pool" ] || give_back "$(cat "$D/pool")" "$P"
  ip link del "$BR" 2>/dev/null || true
  rm -rf "$D"
}

[ $# -ge 2 ] || usage
verb=$1 D=$(realpath -m "$2"); shift 2
if [ "$verb" = up ]; then up "$@"; exit; fi
if [ ! -f "$D/port" ]; then
  [ "$verb" = down ] && exit
  die "nothing was started in $D: services.sh up $D"
fi
touch "$D/used"
P=$(cat "$D/port") BR=skep$P
case $verb in
  down) down ;;
  start-pg | start-rabbit | start-docker | stop-pg | stop-rabbit | stop-docker | kill-pg | kill-rabbit | kill-docker) "${verb/-/_}" ;;
  restart-pg | restart-rabbit | restart-docker) "stop_${verb#*-}"; "start_${verb#*-}" ;;
  # PostgreSQL's processes each have their own group, so all of them are named.
  freeze-pg | freeze-rabbit | freeze-docker) for p in $("${verb#*-}_pids"); do kill -STOP "$p" 2>/dev/null || true; done ;;
  thaw-pg | thaw-rabbit | thaw-docker) for p in $("${verb#*-}_pids"); do kill -CONT "$p" 2>/dev/null || true; done ;;
  database) psql postgres "CREATE DATABASE \"$1\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'" ;;
  drop-database) psql postgres "DROP DATABASE IF EXISTS \"$1\" WITH (FORCE)" ;;
  query) psql "$1" "$2" ;;
  vhost) [ $# -gt 0 ] || usage; make_vhosts "$@" ;;
  empty-vhost)
    [ $# -gt 0 ] || usage
    rabbit_eval "[rabbit_vhost:delete(V, <<\"tests\">>) || V <- [$(vhost_names "$@")]]."
    make_vhosts "$@" ;;
  alarm)
    case ${1:-} in on) level=0.000001 ;; off) level=0.4 ;; *) usage ;; esac
    rabbit_eval "vm_memory_monitor:set_vm_memory_high_watermark($level)." ;;
  user) [ $# -gt 2 ] || usage; vhost_name "$1"; vhost_name "$2"
    rabbit_eval "[ok = rabbit_auth_backend_internal:add_user(<<\"$1\">>, <<\"$2\">>, <<\"tests\">>),
      [ok = rabbit_auth_backend_internal:set_permissions(<<\"$1\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>)
        || V <- [$(vhost_names "${@:3}")]]]." ;;
  password) [ $# -eq 2 ] || usage; vhost_name "$1"; vhost_name "$2"
    rabbit_eval "ok = rabbit_auth_backend_internal:change_password(<<\"$1\">>, <<\"$2\">>, <<\"tests\">>)." ;;
  permit) [ $# -eq 5 ] || usage; vhost_name "$2"; rabbit_env; timeout 60 rabbitmqctl -q set_permissions -p "$2" "$1" "$3" "$4" "$5" >/dev/null ;;
  management)
    # Statistics are what costs memory, and nobody asks for them.
    case ${1:-} in
      on)
        rabbit_eval "application:set_env(rabbitmq_management_agent, disable_metrics_collector, true, [{persistent, true}]),
          application:set_env(rabbitmq_management, tcp_config, [{port, $((P + 5))}, {ip, \"127.0.0.1\"}], [{persistent, true}])."
        ( rabbit_env; timeout 120 rabbitmq-plugins -q enable rabbitmq_management >/dev/null )
        echo "http://guest:guest@127.0.0.1:$((P + 5))" ;;
      off) rabbit_env; timeout 120 rabbitmq-plugins -q disable rabbitmq_management rabbitmq_management_agent rabbitmq_web_dispatch >/dev/null ;;
      *) usage ;;
    esac ;;
  connections) vhost_name "$1"; rabbit_env
    timeout 60 rabbitmqctl -q --no-table-headers list_connections user vhost | awk -v v="$1" '$2 == v { print $1 }' ;;
  purge) vhost_name "$1"; rabbit_eval "[rabbit_amqqueue:purge(Q) || Q <- rabbit_amqqueue:list(<<\"$1\">>)]." ;;
  queues) vhost_name "$1"; rabbit_env; timeout 60 rabbitmqctl -q --no-table-headers list_queues -p "$1" name messages consumers ;;
  *) usage ;;
esac

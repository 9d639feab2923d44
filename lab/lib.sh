# What the lab's scripts share: where things are, and how a process is started and stopped. Sourced, never run.
# Everything lies under $LAB_DIR and listens on 127.0.0.1 only. A process is known by its pid file, never by its name.
set -euo pipefail

LAB_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export LAB_DIR=${LAB_DIR:-/tmp/lab}
export LAB_VENV=${LAB_VENV:-$LAB_DIR/venv}
export LAB_PASSWORD=${LAB_PASSWORD:-labpw}             # one password for every account of the lab
export LAB_COMPUTE_HOST=${LAB_COMPUTE_HOST:-lab-ironic}  # [DEFAULT]host of the compute service
export PATH="$LAB_VENV/bin:$PATH" PYTHONPATH="$LAB_HOME" PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
ETC=$LAB_DIR/etc LOG=$LAB_DIR/log PIDS=$LAB_DIR/pid RUN=$LAB_DIR/run STATE=$LAB_DIR/state
IP=127.0.0.1

say() { printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*"; }
die() { say "ERROR: $*" >&2; exit 1; }

directories() { mkdir -p "$ETC" "$LOG" "$PIDS" "$RUN" "$STATE"; }

alone() { # one lab script at a time changes the lab; others wait here
    directories
    exec 9>"$LAB_DIR/lock"
    flock 9
}

python() { "$LAB_VENV/bin/python" "$@"; }

installed() { [ -x "$LAB_VENV/bin/uwsgi" ] || die "no OpenStack in $LAB_VENV: run lab/install first"; }

# ---- processes

pid_of() { cat "$PIDS/$1.pid" 2>/dev/null || true; }

alive() { # alive NAME: does the process of NAME's pid file run?
    local pid; pid=$(pid_of "$1")
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null
}

start() { # start NAME COMMAND...: detached, in a session of its own, output in $LOG/NAME.out
    local name=$1; shift
    if alive "$name"; then say "$name runs already"; return; fi
    rm -f "$PIDS/$name.pid"
    setsid bash -c 'echo $$ >"$0"; exec "$@"' "$PIDS/$name.pid" "$@" >>"$LOG/$name.out" 2>&1 </dev/null 9>&- &
    until [ -s "$PIDS/$name.pid" ]; do sleep 0.02; done
    say "$name started (pid $(pid_of "$name"))"
}

stop() { # stop NAME [SECONDS]: TERM to the process, and KILL to what is left of its session when the seconds are over
    local name=$1 limit=${2:-20} pid; pid=$(pid_of "$1")
    if alive "$name"; then
        kill -TERM "$pid"
        ends "$pid" "$limit" || { say "$name does not end within ${limit}s: killed"; kill -KILL -- "-$pid" 2>/dev/null || true; }
        say "$name stopped"
    fi
    rm -f "$PIDS/$name.pid"
}

ends() { # ends PID SECONDS: does the process end in time?
    local _
    for _ in $(seq $(($2 * 10))); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
    return 1
}

wait_for() { # wait_for SECONDS WHAT COMMAND...: until the command succeeds
    local limit=$1 what=$2 since=$SECONDS; shift 2
    until "$@" >/dev/null 2>&1; do
        [ $((SECONDS - since)) -lt "$limit" ] || die "$what is not ready after ${limit}s (see $LOG)"
        sleep 0.2
    done
}

answers() { # answers URL: any HTTP answer below 500
    local code; code=$(curl -s -o /dev/null -m 10 -w '%{http_code}' "$1")
    [ "$code" -ge 200 ] && [ "$code" -lt 500 ]
}

# ---- databases and broker

sql() { mariadb --socket="$RUN/mysql.sock" -u "$(id -un)" -N -B "$@"; }

# The wrappers in /usr/sbin switch to the user rabbitmq; the lab's broker runs as whoever runs the lab.
RABBIT_BIN=/usr/lib/rabbitmq/bin
rabbit_environment() {
    export HOME=$STATE/rabbit RABBITMQ_NODENAME=lab@localhost
    export RABBITMQ_MNESIA_BASE=$STATE/rabbit/mnesia RABBITMQ_LOG_BASE=$LOG/rabbit RABBITMQ_PID_FILE=$RUN/rabbit.pid
    export RABBITMQ_CONFIG_FILE=$ETC/rabbitmq/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE=$ETC/rabbitmq/enabled_plugins
    export RABBITMQ_CONF_ENV_FILE=$ETC/rabbitmq/rabbitmq-env.conf
    export RABBITMQ_DIST_PORT=25672 ERL_EPMD_ADDRESS=$IP ERL_EPMD_PORT=14369
}
rabbitctl() { (rabbit_environment; exec "$RABBIT_BIN/rabbitmqctl" -q "$@"); }

NOVA_FILES=(--config-file "$ETC/nova/nova.conf" --config-file "$ETC/nova/nova-db.conf")

# Every service of the lab: how it is started and when it is ready. Sourced by lab/up and lab/service.
# run_NAME starts it; ready_NAME waits for it; both do nothing when it is there already.

# Databases, broker and cache first; then what others need to start; what may take its time last.
INFRASTRUCTURE=(mysql rabbitmq memcached)
OPENSTACK=(keystone placement glance neutron nova-api nova-conductor nova-scheduler nova-serialproxy nova-novncproxy ironic-conductor ironic-api cinder-volume cinder-scheduler
           cinder-api)

run_mysql() {
    if [ ! -d "$STATE/mysql/mysql" ]; then
        say "mysql: making the data directory"
        mariadb-install-db --defaults-file="$ETC/mysql/my.cnf" --auth-root-authentication-method=socket --auth-root-socket-user="$(id -un)" \
            >"$LOG/mysql-install.out" 2>&1 || { tail "$LOG/mysql-install.out"; die "mariadb-install-db failed"; }
    fi
    start mysql "$(PATH=$PATH:/usr/sbin command -v mariadbd)" --defaults-file="$ETC/mysql/my.cnf"
}
ready_mysql() { wait_for 60 mysql sql -e 'select 1'; }

run_rabbitmq() {
    mkdir -p "$STATE/rabbit" "$LOG/rabbit"
    (rabbit_environment; start rabbitmq "$RABBIT_BIN/rabbitmq-server")
}
ready_rabbitmq() { wait_for 120 rabbitmq rabbitctl await_startup; }

run_memcached() { start memcached memcached -l "$IP" -p 11211 -U 0 -u "$(id -un)" -m 64; }
ready_memcached() { :; }

# One uwsgi for each API: two processes of four threads, no keep-alive, a line for every request in $LOG/NAME.access.
api() { # api NAME PORT MODULE [ARGUMENTS...]
    local name=$1 port=$2 module=$3; shift 3
    start "$name" uwsgi --http-socket "$IP:$port" --module "$module:application" --master --processes 2 --threads 4 --enable-threads \
        --thunder-lock --lazy-apps --die-on-term --exit-on-reload --need-app --buffer-size 65535 --add-header "Connection: close" \
        --procname-prefix "$name " --worker-reload-mercy 5 --so-keepalive --listen 100 --req-logger "file:$LOG/$name.access" \
        --logformat '%(tmsecs) %(micros)us %(status) %(method) %(uri) sz=%(rsize) ua="%(uagent)"' "$@"
}

run_keystone() { OS_KEYSTONE_CONFIG_DIR=$ETC/keystone OS_KEYSTONE_CONFIG_FILES=keystone.conf api keystone 5000 keystone.wsgi.api; }
run_placement() { OS_PLACEMENT_CONFIG_DIR=$ETC/placement api placement 8778 placement.wsgi.api; }
run_glance() { OS_GLANCE_CONFIG_DIR=$ETC/glance api glance 9292 glance.wsgi.api; }
run_neutron() { OS_NEUTRON_CONFIG_DIR=$ETC/neutron OS_NEUTRON_CONFIG_FILES="neutron.conf;ml2_conf.ini" api neutron 9696 neutron.wsgi.api; }
run_nova-api() { OS_NOVA_CONFIG_DIR=$ETC/nova OS_NOVA_CONFIG_FILES="api-paste.ini;nova.conf;nova-db.conf" api nova-api 8774 nova.wsgi.osapi_compute; }
run_nova-conductor() { start nova-conductor nova-conductor "${NOVA_FILES[@]}" --log-file "$LOG/nova-conductor.log"; }
run_nova-scheduler() { start nova-scheduler nova-scheduler "${NOVA_FILES[@]}" --log-file "$LOG/nova-scheduler.log"; }
run_nova-serialproxy() { start nova-serialproxy nova-serialproxy "${NOVA_FILES[@]}" --config-file "$ETC/nova/nova-proxies.conf"; }
run_nova-novncproxy() { start nova-novncproxy nova-novncproxy "${NOVA_FILES[@]}" --config-file "$ETC/nova/nova-proxies.conf"; }
run_ironic-conductor() {
    PYTHONPATH="$PYTHONPATH:$LAB_HOME/ironic_plugin" start ironic-conductor ironic-conductor --config-file "$ETC/ironic/ironic.conf" --config-file "$ETC/ironic/pace.conf" \
        --log-file "$LOG/ironic-conductor.log"
}
run_ironic-api() { api ironic-api 6385 ironic.wsgi.api --pyargv "--config-file $ETC/ironic/ironic.conf --log-file $LOG/ironic-api.log"; }
run_cinder-api() { api cinder-api 8776 cinder.wsgi.api --pyargv "--config-file $ETC/cinder/cinder.conf --log-file $LOG/cinder-api.log"; }
run_cinder-scheduler() { start cinder-scheduler cinder-scheduler --config-file "$ETC/cinder/cinder.conf" --log-file "$LOG/cinder-scheduler.log"; }
run_cinder-volume() { start cinder-volume cinder-volume --config-file "$ETC/cinder/cinder.conf" --log-file "$LOG/cinder-volume.log"; }

ready_keystone() { wait_for 60 keystone answers "http://$IP:5000/v3"; }
ready_placement() { wait_for 60 placement answers "http://$IP:8778/"; }
ready_glance() { wait_for 60 glance answers "http://$IP:9292/"; }
ready_neutron() { wait_for 60 neutron answers "http://$IP:9696/"; }
ready_nova-api() { wait_for 60 nova-api answers "http://$IP:8774/"; }
ready_nova-conductor() { wait_for 60 nova-conductor reported nova-conductor; }
ready_nova-scheduler() { wait_for 60 nova-scheduler reported nova-scheduler; }
ready_nova-serialproxy() { wait_for 60 nova-serialproxy listens 6083; }
ready_nova-novncproxy() { wait_for 60 nova-novncproxy listens 6080; }
ready_ironic-conductor() { wait_for 60 ironic-conductor at_work; }
ready_ironic-api() { wait_for 60 ironic-api answers "http://$IP:6385/"; }
ready_cinder-api() { wait_for 60 cinder-api answers "http://$IP:8776/"; }
ready_cinder-scheduler() { wait_for 60 cinder-scheduler reports_to_cinder cinder-scheduler; }
ready_cinder-volume() { wait_for 60 cinder-volume reports_to_cinder cinder-volume; }

reported() { # reported BINARY: does Nova know the service?
    [ "$(sql -e "select count(*) from services where \`binary\` = '$1' and deleted = 0" nova_cell1)" != 0 ]
}

reports_to_cinder() { # reports_to_cinder BINARY: has the service reported within the last 15 s?
    [ "$(sql -e "select count(*) from services where \`binary\` = '$1' and deleted = 0 and updated_at > utc_timestamp() - interval 15 second" cinder)" != 0 ]
}

listens() { # listens PORT
    (exec 3<>"/dev/tcp/$IP/$1") 2>/dev/null
}

at_work() { # does Ironic's conductor take work?
    [ "$(sql -e 'select count(*) from conductors where online = 1' ironic)" != 0 ] && (exec 3<>"/dev/tcp/$IP/8089") 2>/dev/null
}

stop_service() { # stop_service NAME: in the way that it likes
    case $1 in
        rabbitmq) alive rabbitmq && rabbitctl stop >/dev/null 2>&1; stop rabbitmq ;;
        mysql) stop mysql 60 ;;
        *) stop "$1" ;;
    esac
}

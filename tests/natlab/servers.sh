# shellcheck shell=bash
# What runs in the test bed by itself, and `natlab check`. Part of `natlab`.

wait_for() { # wait_for SECONDS CMD...: until CMD succeeds
    local n=$(($1 * 10)); shift
    while ! "$@" >/dev/null 2>&1; do
        n=$((n - 1)); ((n > 0)) || return 1
        sleep 0.1
    done
}
# shellcheck disable=SC2317 # called by wait_for
listens() { in_ns "$1" ss -lnu "sport = :$2" | grep -q ":$2 "; }

# shellcheck disable=SC2317
silent() { ! listens "$@"; }

# STUN, with RFC 5780's second address and port, and TURN: over UDP and TCP, and over TCP and TLS
# at 443.
start_coturn() {
    local net=${NETS[0]} discovery=()
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
        -subj "/CN=$TURN_REALM" -addext "subjectAltName=DNS:$TURN_REALM,IP:$net.10" \
        -keyout "$STATE/turn.key" -out "$STATE/turn.crt" 2>/dev/null || die "openssl made no certificate"
    # From 4.7 on, discovery of the NAT's behaviour is off unless asked for.
    if turnserver --help 2>&1 | grep -qE '^ *--rfc5780'; then discovery=("rfc5780"); fi
    printf '%s\n' "listening-ip=$net.10" "listening-ip=$net.11" "relay-ip=$net.10" \
        "listening-port=3478" "alt-listening-port=3479" "tls-listening-port=443" \
        "fingerprint" "lt-cred-mech" "realm=$TURN_REALM" "user=$TURN_USER:$TURN_PASS" \
        "no-cli" "userdb=$STATE/turndb" "pidfile=$STATE/coturn.pid" \
        "log-file=$STATE/coturn.log" "simple-log" "verbose" "${discovery[@]}" \
        "cert=$STATE/turn.crt" "pkey=$STATE/turn.key" >"$STATE/coturn.conf"
    chmod 644 "$STATE"/turn.*
    in_ns stun turnserver -c "$STATE/coturn.conf" >"$STATE/coturn.out" 2>&1 </dev/null &
    wait_for 5 listens stun 3479 || die "coturn did not start, see $STATE/coturn.log"
}

stop_coturn() {
    local pids; mapfile -t pids < <(ip netns pids "$(ns stun)")
    ((${#pids[@]} == 0)) || kill -9 "${pids[@]}"
    wait_for 5 silent stun 3478 || die "coturn did not stop"
}

# UPnP, NAT-PMP and PCP on the routers with the option `upnp`. miniupnpd maps nothing while it takes
# its outside address for private. On the internet it asks the test bed's STUN server, so that it
# also works in documentation space; behind a carrier it refuses, as it should.
start_miniupnpd() {
    local site up options r stun
    while read -r site _ up _ options; do
        [[ $options == *upnp* ]] || continue
        r=r-$site stun=()
        if [ "$up" = inet ]; then
            stun=("ext_perform_stun=yes" "ext_stun_host=${NETS[0]}.10" "ext_stun_port=3478")
        fi
        printf '%s\n' "ext_ifname=wan" "listening_ip=lan0" "enable_natpmp=yes" "enable_upnp=yes" \
            "${stun[@]}" "secure_mode=yes" "system_uptime=yes" "force_igd_desc_v1=no" \
            "min_lifetime=1" "max_lifetime=86400" "clean_ruleset_interval=10" \
            "lease_file=$STATE/$r.leases" \
            "uuid=00000000-0000-4000-8000-$(printf %012d $((10#${site//[!0-9]/})))" \
            "upnp_table_name=natlab" "upnp_nat_table_name=natlab" \
            "upnp_forward_chain=upnp_forward" "upnp_nat_chain=upnp_dnat" \
            "upnp_nat_postrouting_chain=upnp_snat" \
            "allow 1024-65535 0.0.0.0/0 1024-65535" "deny 0-65535 0.0.0.0/0 0-65535" \
            >"$STATE/$r.miniupnpd.conf"
        : >"$STATE/$r.leases"
        in_ns "$r" miniupnpd -d -f "$STATE/$r.miniupnpd.conf" -P "$STATE/$r.pid" \
            >"$STATE/$r.miniupnpd.log" 2>&1 </dev/null &
    done < <(rows "$SITES")
    while read -r site _ _ _ options; do
        [[ $options == *upnp* ]] || continue
        wait_for 12 listens "r-$site" 5351 ||
            die "miniupnpd on $site did not start, see $STATE/r-$site.miniupnpd.log"
    done < <(rows "$SITES")
}

# --- natlab check ----------------------------------------------------------------------------------

# What natprobe must see behind a NAT of a kind. Of two NATs in a row the stricter one shows.
expected() { # expected KIND ROUTER
    local kind=$1
    if [[ $(field "$2" 6) == r-* ]]; then case $CGN_NAT in sym|seq) kind=sym ;; esac; fi
    case $kind in
        none) echo "none EIF" ;;
        full) echo "EIM EIF" ;;
        addr) echo "EIM ADF" ;;
        port) echo "EIM APDF" ;;
        sym|seq) echo "APDM APDF" ;;
        corp) echo "blocked blocked" ;;
    esac
}

bad=0
try() { # try TEXT CMD...
    local text=$1; shift
    if "$@" >"$STATE/check/out" 2>&1; then echo "ok    $text"; else bad=$((bad + 1)); echo "FAIL  $text"; fi
}
# shellcheck disable=SC2317 # called by try
relayed() { in_ns "$@" && grep -q 'tot_recv_msgs=6' "$STATE/check/out"; }
# shellcheck disable=SC2317
refused() { ! in_ns "$@"; }

check_servers() {
    local net=${NETS[0]} pub1 peer client
    pub1=$(field pub1 4)
    ip netns exec "$(ns pub1)" turnutils_peer -L "$pub1" >/dev/null 2>&1 & peer=$!
    client=(turnutils_uclient -u "$TURN_USER" -w "$TURN_PASS" -e "$pub1" -n 3 -m 1)
    try "TURN over UDP from port1" relayed port1 timeout 20 "${client[@]}" "$net.10"
    try "TURN over TCP at 443 from corp1" relayed corp1 timeout 20 "${client[@]}" -t -p 443 "$net.10"
    try "TURN over TLS at 443 from corp1" relayed corp1 timeout 20 "${client[@]}" -t -S -p 443 "$net.10"
    kill "$peer" 2>/dev/null || true
    try "NAT-PMP on upnp1's router" in_ns upnp1 "$HERE/natprobe" --map "$(field r-upnp1 4)" 7777
    try "no NAT-PMP behind a carrier (cgn1)" \
        refused cgn1 "$HERE/natprobe" --map "$(field r-cgn1 4)" 7777
}

# Every host probes at once; then one host each tries TURN and port mapping.
cmd_check() {
    need_up
    local name role nat addr outside router want got out dir=$STATE/check
    rm -rf -- "$dir"; mkdir "$dir"
    while IFS=$'\t' read -r name role nat addr outside router; do
        [ "$role" = router ] || [ "$name" = stun ] ||
            in_ns "$name" "$HERE/natprobe" "${NETS[0]}.10" "${NETS[0]}.11" </dev/null >"$dir/$name" 2>&1 &
    done <"$STATE/hosts"
    wait
    printf '%-7s %-8s %-16s %-16s %s\n' HOST NAT EXPECTED SEEN DETAILS
    while IFS=$'\t' read -r name role nat addr outside router; do
        [ -e "$dir/$name" ] || continue
        want=$(expected "$nat" "$router"); out=$(tail -1 "$dir/$name"); got=$(cut -d' ' -f1,2 <<<"$out")
        printf '%-7s %-8s %-16s %-16s %s\n' "$name" "$nat" "${want/ //}" "${got/ //}" \
            "$(cut -d' ' -f3- <<<"$out")"
        [ "$got" = "$want" ] || { bad=$((bad + 1)); note "$name is not as it should be"; }
    done <"$STATE/hosts"
    check_servers
    [ "$bad" = 0 ] || die "$bad of the checks failed"
}

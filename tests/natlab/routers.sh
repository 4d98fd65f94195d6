# shellcheck shell=bash
# The NAT of each kind as nftables rules. Part of `natlab`.
#
# Mapping / filtering, as RFC 4787 names them:
#   full     endpoint-independent / endpoint-independent           "full cone"
#   addr     endpoint-independent / address-dependent              "restricted cone"
#   port     endpoint-independent / address- and port-dependent    "port-restricted"
#   sym      address- and port-dependent, a random port each time / the same   "symmetric"
#   seq      as sym, with ports one after the other
#   corp     as port, but only TCP to 80 and 443 gets out
#   carrier  a carrier's NAT, of the kind $CGN_NAT
#
# Linux's own NAT (masquerade) keeps the source port when it is free, so a socket inside has one
# port outside whatever the destination, and only replies get in: that is `port`. The others are
# made from it. `sym` asks for a random port for each connection, `seq` takes ports from a counter.
# `full` and `addr` note the port of each packet that leaves in a map, and send strangers' packets
# to that port (for `addr`: only from addresses that the port has talked to) on to the inside.
# `hairpin` uses the same map for packets from inside to the router's outside address.
#
# The maps take it for granted that the port was kept: two hosts of one LAN must not use the same
# source port on a `full`, `addr` or hairpinning router.

# What a router notes of packets that leave.
learn_rules() { # learn_rules KIND HAIRPIN
    local p
    for p in udp tcp; do
        if [ "$1" = full ] || [ "$2" = 1 ]; then
            echo "iifname lan0 oifname wan update @cone_$p { $p sport : ip saddr }"
        fi
        if [ "$1" = addr ]; then
            echo "iifname lan0 oifname wan update @known_$p { $p sport . ip daddr : ip saddr }"
        fi
    done
}

# Whom a router lets in beside replies.
dnat_rules() { # dnat_rules KIND HAIRPIN OUTSIDE
    local p
    for p in udp tcp; do
        case $1 in
            full) echo "iifname wan ip daddr $3 dnat ip to $p dport map @cone_$p" ;;
            addr) echo "iifname wan ip daddr $3 dnat ip to $p dport . ip saddr map @known_$p" ;;
        esac
        if [ "$2" = 1 ]; then echo "iifname lan0 ip daddr $3 dnat ip to $p dport map @cone_$p"; fi
    done
}

# What a router makes of the source of packets that leave.
snat_rules() { # snat_rules KIND HAIRPIN OUTSIDE
    local p i map=''
    # What hairpins carries the outside address and port (RFC 4787 REQ-9).
    if [ "$2" = 1 ]; then echo "iifname lan0 oifname lan0 ct status dnat snat ip to $3"; fi
    case $1 in
        full|addr|port|corp) echo "oifname wan masquerade" ;;
        sym) echo "oifname wan masquerade random,fully-random" ;;
        seq)
            for i in $(seq 0 1999); do map+="$i : $((40000 + i)),"; done
            for p in udp tcp; do
                echo "oifname wan meta l4proto $p snat ip to $3 : numgen inc mod 2000 map { ${map%,} }"
            done
            echo "oifname wan masquerade"
            ;;
        *) die "no such kind of NAT: $1" ;;
    esac
}

refusal() {
    case $UNSOLICITED in
        drop) echo drop ;;
        reject) printf 'meta l4proto tcp reject with tcp reset\nreject\n' ;;
        accept) echo accept ;; # a careless router: the packet reaches its own stack
        *) die "NATLAB_UNSOLICITED is one of drop, reject, accept: $UNSOLICITED" ;;
    esac
}

ruleset() { # ruleset KIND HAIRPIN OUTSIDE: the whole table of a router
    local out=accept
    if [ "$1" = corp ]; then out="tcp dport { 80, 443 } accept"; fi
    local udp="flags dynamic,timeout; timeout ${UDP_STREAM_TIMEOUT}s; size 65535;"
    local tcp="flags dynamic,timeout; timeout 10m; size 65535;"
    cat <<END
table inet natlab
delete table inet natlab
table inet natlab {
    map cone_udp  { type inet_service : ipv4_addr; $udp }
    map cone_tcp  { type inet_service : ipv4_addr; $tcp }
    map known_udp { type inet_service . ipv4_addr : ipv4_addr; $udp }
    map known_tcp { type inet_service . ipv4_addr : ipv4_addr; $tcp }

    # miniupnpd writes its mappings into these three.
    chain upnp_forward { }
    chain upnp_dnat { }
    chain upnp_snat { }

    chain learn {
        type filter hook postrouting priority 99; policy accept;
        $(learn_rules "$1" "$2")
    }
    chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        jump upnp_dnat
        $(dnat_rules "$1" "$2" "$3")
    }
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        jump upnp_snat
        $(snat_rules "$1" "$2" "$3")
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname lan0 $out
        ct status dnat accept
        jump upnp_forward
    }
    # To the router itself. Strangers are dropped before their packet becomes a tracked connection,
    # which would occupy the very port that a later punch needs.
    chain input {
        type filter hook input priority 0; policy drop;
        iifname { lo, lan0 } accept
        ct state established,related accept
        icmp type echo-request accept
        ip saddr { ${NETS[0]}.10, ${NETS[0]}.11 } udp sport { 3478, 3479 } accept comment "miniupnpd's STUN"
        $(refusal)
    }
}
END
}

load_rules() { # load_rules SITE
    local kind options hairpin=0
    read -r kind options < <(rows "$SITES" | awk -v s="$1" '$1 == s {print $2, $5}')
    if [ "$kind" = carrier ]; then kind=$CGN_NAT hairpin=$CGN_HAIRPIN; fi
    if [[ $options == *hairpin* ]]; then hairpin=1; fi
    ruleset "$kind" "$hairpin" "$(field "r-$1" 5)" >"$STATE/r-$1.nft"
    in_ns "r-$1" nft -f "$STATE/r-$1.nft"
}

#!/bin/sh
# The guest's first and only process: mounts, runs the tests, powers off.
/bin/busybox --install -s /applets
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t securityfs securityfs /sys/kernel/security
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
ln -s /proc/self/fd /dev/fd
ln -s /run /var/run
ip link set lo up
# For `ss -K` and kernel TLS, in namespaces where nobody may load a module.
for module in "/modules/$(uname -r)"/*; do insmod "$module"; done
echo; echo "guest: kernel $(uname -r)"
argument() { sed -n "s/.*$1=\"\([^\"]*\)\".*/\1/p" /proc/cmdline; }
# Emulated processors are slow: the tests wait longer, and one makes fewer connections.
export TLSCLOSE_TEST_PATIENCE=4 RUST_BACKTRACE=0
TLSCLOSE_TEST_CONNECTIONS=$(argument tlsclose.connections)
export TLSCLOSE_TEST_CONNECTIONS
run() {
    $(argument tlsclose.tests) --test-threads 2 "$@" | tee /tmp/console
    # ... and one that fails beside another is tried once more, alone.
    failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' /tmp/console)
    [ -z "$failed" ] || $(argument tlsclose.tests) --test-threads 1 --include-ignored --exact $failed
}
run $(argument tlsclose.filters)
locked=$(argument tlsclose.locked)
if [ -n "$locked" ]; then
    # From here on for good.
    echo confidentiality >/sys/kernel/security/lockdown
    run $locked
fi
echo "guest: tests ended"
dmesg | grep -E 'WARNING:|BUG:|Oops|taint' | grep -v 'Unknown kernel' | sed 's/^/guest: kernel complains: /'
poweroff -f

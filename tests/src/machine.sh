#!/bin/sh
# Boots the Debian in $1 with systemd as the first process, on a layer in $2; $3 is its cgroup. The network is
# that of the caller. Everything ends with this process.
set -e
if [ "$4" != inside ]; then
    mkdir "$3"
    echo $$ > "$3/cgroup.procs"
    exec unshare --mount --propagation private --pid --uts --ipc --cgroup --fork --kill-child sh "$0" "$1" "$2" "$3" inside
fi
mount -t tmpfs layer "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" root "$2/root"
cd "$2/root"
# What an agent outside of the host's PID namespace needs, to be given with --procfs.
mkdir -p host/proc
mount --bind /proc host/proc
mount -t proc proc proc
mount -t sysfs sys sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tracefs tracefs sys/kernel/tracing
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 pts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
mkdir outside
pivot_root . outside
umount -l /outside
rmdir /outside
hostname machine
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=multi-user.target

#!/usr/bin/env bash
# Installs Debian's Slurm and starts a cluster of this one machine: for `make test-slurm`, as root, on a machine to spare.
set -euo pipefail

apt-get install -y -qq slurm-wlm munge > /dev/null
state=/var/tmp/one-node-slurm
host=$(hostname -s)
mkdir -p "$state/ctld" "$state/d" /run/munge /etc/slurm
chown munge: /run/munge
[ -s /etc/munge/munge.key ] || { head -c 1024 /dev/urandom > /etc/munge/munge.key; chown munge: /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }

cat > /etc/slurm/slurm.conf <<CONF
ClusterName=one-node
SlurmctldHost=$host
SlurmUser=root
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldLogFile=$state/ctld.log
SlurmdLogFile=$state/d.log
SlurmctldPidFile=$state/ctld.pid
SlurmdPidFile=$state/d.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=$host CPUs=$(nproc) RealMemory=4096
PartitionName=main Nodes=ALL Default=YES State=UP
CONF

pgrep -x munged > /dev/null || su -s /bin/sh munge -c munged
pgrep -x slurmctld > /dev/null || slurmctld
pgrep -x slurmd > /dev/null || slurmd
for _ in $(seq 60); do
    sinfo --noheader --format=%t 2> /dev/null | grep -qE '^(idle|mix|alloc)' && { sinfo; exit 0; }
    sleep 1
done
echo "the node did not come up within a minute:" >&2
tail -n 20 "$state/ctld.log" "$state/d.log" >&2
exit 1

#!/bin/bash
# systemd as the first process of namespaces of its own: `unshare --fork --pid --mount ... own_systemd.sh HERE SOURCE SITE PYTHON`.
# HERE/units are its units, all of them, and HERE/srv is its /srv. SOURCE has batchgray, SITE what that needs; both are in
# /opt/batchgray there, as the unit sees neither /tmp nor a home. What it writes elsewhere goes to memory, and ends with it.
set -e
here=$1 source=$2 site=$3 python=$4
mount --make-rprivate /
for folder in /run /opt /var/cache /srv; do mount -t tmpfs tmpfs $folder; done
mount --bind "$here/srv" /srv
mkdir -p /run/systemd /opt/batchgray/bin /opt/batchgray/{source,site}
mount --bind "$source" /opt/batchgray/source
mount --bind "$site" /opt/batchgray/site
cat > /opt/batchgray/bin/batchgray <<END
#!/bin/sh
export PYTHONPATH=\$PYTHONPATH:/opt/batchgray/source:/opt/batchgray/site
exec $python -m batchgray "\$@"
END
chmod +x /opt/batchgray/bin/batchgray
for file in passwd group; do cp /etc/$file /run/$file; done
echo 'batchgray:x:2990:2990::/nonexistent:/usr/sbin/nologin' >> /run/passwd
echo 'batchgray:x:2990:' >> /run/group
for file in passwd group; do mount --bind /run/$file /etc/$file; done
chown -R batchgray:batchgray /srv/gray /srv/record
umount -l /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
export SYSTEMD_UNIT_PATH=$here/units container=lxc
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=null

#!/bin/bash
# The life of one host, from its first process: its disk, its devices, its users, its sshd.
# Run by hosts.py as process 1 of new PID, mount, UTS and IPC namespaces, in the network namespace made for it.
# What stands in DISK/upper is the host's disk: it outlives a stop, and is all that a start finds again.
set -eu

mount --make-rprivate /
mkdir -p "$DISK"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$DISK/upper,workdir=$DISK/work" "$DISK/root"
cd "$DISK/root"
hostname "$HOST_NAME"

mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666  # ssh -tt needs terminals
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/sshd run/lock
for path in $CARRIED; do  # what the tests need and what a new /tmp or /run would hide; what the host writes is its own
  layer=$DISK/carried/$(echo "$path" | tr / -)
  mkdir -p ".$path" "$layer"/{upper,work}
  mount -t overlay overlay -o "lowerdir=$CARRY$path,upperdir=$layer/upper,workdir=$layer/work" ".$path"
done

mount --bind "$HOSTS_FILE" etc/hosts  # one file for all hosts, which the lab rewrites as hosts come and go
rm -f etc/resolv.conf
echo "nameserver $GATEWAY" >etc/resolv.conf  # nobody answers there, and says so at once
echo "$HOST_NAME" >etc/hostname

# A machine image's users. They are root under other names: sudo need not be installed, and Python may stand in
# a directory that only root can read. They share root's home, which is where ssh looks for a key named ~/KEY,
# going by the user's number.
rm -rf root/{.ssh,.aws,.elastic-deploy,.bashrc,.profile,.bash_profile,.bash_login} home/{ubuntu,ec2-user}
for user in ubuntu ec2-user; do
  grep -q "^$user:" etc/passwd || echo "$user:x:0:0::/home/$user:/bin/bash" >>etc/passwd
  ln -s /root "home/$user"
done
mkdir -m 700 root/.ssh
printf '%s\n' "$PUBLIC_KEY" >root/.ssh/authorized_keys
touch root/.bashrc
if ! [ -e usr/bin/sudo ]; then
  cat >usr/bin/sudo <<'SUDO'
#!/bin/bash
while [[ "${1-}" == -* ]]; do case $1 in -u | -g) shift 2 ;; *) shift ;; esac; done
exec env "$@"
SUDO
  chmod 755 usr/bin/sudo
fi
printf '#!/bin/bash\nexec %q %q "$@"\n' "$PYTHON" "$UV" >usr/local/bin/uv
chmod 755 usr/local/bin/uv
cat >etc/profile.d/ec2lab.sh <<PROFILE
export PATH="$HOST_PATH" AWS_ENDPOINT_URL="$ENDPOINT"
export ELASTIC_DEPLOY_REHEARSAL=1  # the image's vLLM is the CPU build, and a GPU is only a number
PROFILE

# This host's faults: commands that fail wherever they would be found. A line each: command, status, message.
while read -r command status message; do
  [ -n "$command" ] || continue
  fault=usr/local/lib/ec2lab-$command
  printf '#!/bin/bash\necho %q >&2\nexit %s\n' "$command: $message" "$status" >"$fault"
  chmod 755 "$fault"
  for directory in $(echo "$HOST_PATH" | tr : ' '); do
    if [ -e ".$directory/$command" ] || [ "$directory" = /usr/local/bin ]; then
      rm -f ".$directory/$command"
      cp "$fault" ".$directory/$command"
    fi
  done
done <<<"$BROKEN"

[ -e etc/ssh/lab_host_key ] || ssh-keygen -q -t ed25519 -N '' -f etc/ssh/lab_host_key
cat >etc/ssh/lab_sshd_config <<SSHD
HostKey /etc/ssh/lab_host_key
PidFile none
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp internal-sftp
SetEnv PATH=$HOST_PATH AWS_ENDPOINT_URL=$ENDPOINT
SSHD

mkdir -p .before
pivot_root . .before
umount -l /.before
rmdir /.before
cd /
touch /.booted

# An instance that EC2 shuts down gets the signal that an operating system sends, and a moment to obey.
trap 'kill -TERM -1; sleep 1; exit 0' TERM
if [ "$SSH" = mute ]; then
  # A full queue of connections: the kernel drops every further attempt, as a security group does that lets nobody in.
  python3 -c '
import socket, time
silent = socket.create_server(("", 22), backlog=0)
mine = [socket.create_connection(("127.0.0.1", 22))]
time.sleep(10**9)' &
else
  (sleep "$SSH_AFTER"; exec /usr/sbin/sshd -f /etc/ssh/lab_sshd_config -E /var/log/sshd.log) &
fi
while :; do
  sleep 3600 &
  wait $! || true
done

"""The words of the node part's own files: units, presets, scripts and settings."""

from __future__ import annotations

from aistack.compose.render.grub import TRIAL_ARGUMENT

GATE = """\
[Service]
Type=oneshot
RemainAfterExit=yes
Environment=PYTHONPATH=/usr/lib/aistack/python PYTHONDONTWRITEBYTECODE=1
StandardOutput=journal+console
StandardError=journal+console
SyslogIdentifier=aistack
"""

CHECK = f"""\
[Unit]
Description=aistack: is this machine what was promised?
Documentation=file:///usr/lib/aistack/lock.json
ConditionPathExists=/usr/lib/aistack/lock.json
RequiresMountsFor=/var/lib/aistack
After=systemd-tmpfiles-setup.service local-fs.target
JobTimeoutSec=900

{GATE}ExecStart=/usr/bin/python3 -m aistack.node.agent check
TimeoutStartSec=600
"""

# Before the first gate, which has to know it. Stopped only when the machine ends: the jobs that are queued then say how it ends.
START = """\
[Unit]
Description=aistack: was the machine switched on, or only started again?
ConditionPathExists=!/run/aistack/start
RequiresMountsFor=/var/lib/aistack
After=systemd-tmpfiles-setup.service local-fs.target
Before=aistack-check.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/libexec/aistack/start began
ExecStop=/usr/libexec/aistack/start ended
SyslogIdentifier=aistack
"""

# A power cut, a reset button and a panic leave no note, as a reboot does: the start after them proves nothing.
START_NOTES = """\
#!/bin/sh
set -eu
cd /var/lib/aistack
case $1 in
began)
    how=restart
    [ -n "$(ls)" ] || how=first
    [ ! -e switched-off ] || how=power-on
    rm -f switched-off
    : > started
    sync --file-system .
    echo $how > /run/aistack/start
    ;;
ended)
    if systemctl list-jobs poweroff.target | grep -q start; then : > switched-off; fi
    ;;
esac
"""

MODELS = f"""\
[Unit]
Description=aistack: mount the models that are bound to this system
Requires=aistack-check.service
After=aistack-check.service

{GATE}ExecStart=/usr/bin/python3 -m aistack.node.models
TimeoutStartSec=300
"""

# The driver is tried where no device is, too: the kernel's log then says whether it fits this kernel. That is no failed unit, since the
# first gate counts the devices. The driver does not make device nodes; it says in /proc which there ought to be (255: /dev/nvidiactl).
ACCELERATOR = """\
[Unit]
Description=aistack: load the accelerators' driver and make its device nodes
After=systemd-udev-trigger.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/usr/sbin/modprobe nvidia
ExecStart=-/bin/sh -c 'cd /proc/driver/nvidia/gpus 2>/dev/null || exit 0; \
  nvidia-modprobe -c 255 $$(sed -n "s/^Device Minor:[[:space:]]*/-c /p" */information); nvidia-modprobe -u -c 0'
TimeoutStartSec=120
StandardOutput=journal+console
StandardError=journal+console
SyslogIdentifier=aistack
"""

WITH_ACCELERATOR = """\
[Unit]
After=aistack-accelerator.service
ConditionDirectoryNotEmpty=/proc/driver/nvidia/gpus
"""

CDI = """\
[Unit]
Description=aistack: tell containers which accelerators there are
After=aistack-accelerator.service nvidia-fabricmanager.service nvidia-imex.service nvidia-persistenced.service
Before=aistack-check.service

[Service]
Type=oneshot
RemainAfterExit=yes
Environment=PYTHONPATH=/usr/lib/aistack/python PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 -m aistack.node.cdi
TimeoutStartSec=120
SyslogIdentifier=aistack
"""

# Ordered after the first gate without requiring it: a failed first gate is exactly what the second has to act on.
CONFIRM = f"""\
[Unit]
Description=aistack: do the apps answer?
ConditionPathExists=/usr/lib/aistack/lock.json
RequiresMountsFor=/var/lib/aistack /boot
After=aistack-check.service aistack-models.service
Before=boot-complete.target
JobTimeoutSec=1800

{GATE}ExecStart=/usr/bin/python3 -m aistack.node.agent confirm
TimeoutStartSec=1500
"""

# Without dependencies, so that it counts whatever else hangs, a rescue shell included. A hung kernel is the watchdog's.
DEADLINE_TIMER = f"""\
[Unit]
Description=aistack: how long a system on trial may take until its second gate has spoken
DefaultDependencies=no
IgnoreOnIsolate=yes
ConditionKernelCommandLine={TRIAL_ARGUMENT}

[Timer]
OnBootSec=30min
AccuracySec=1s
"""

# An emergency (a file system that does not come, say) wants it at once: nobody sits there, and GRUB counts the start.
DEADLINE = f"""\
[Unit]
Description=aistack: this system hangs or gives up on its trial, and is started again
DefaultDependencies=no
ConditionKernelCommandLine={TRIAL_ARGUMENT}
ConditionPathExists=!/run/aistack/confirm.json
SuccessAction=reboot-force

[Service]
Type=oneshot
ExecStart=/bin/echo this system did not get as far as its second gate
StandardOutput=journal+console
SyslogIdentifier=aistack
"""

# A start that nobody counts has nothing to fall back to; but a disk that was slow may come the next time. Who sits there stops the timer,
# who goes on from there too; an emergency after the second gate was somebody's wish.
EMERGENCY_TIMER = """\
[Unit]
Description=aistack: how long an emergency shell waits for somebody until the machine starts again
DefaultDependencies=no
PartOf=emergency.target
ConditionPathExists=!/run/aistack/confirm.json

[Timer]
OnActiveSec=30min
Unit=reboot.target
"""

FSCK_TIMER = """\
[Unit]
Description=aistack: is every file of the OS what its checksum says, once a week?

[Timer]
OnCalendar=weekly
RandomizedDelaySec=2d
FixedRandomDelay=yes
Persistent=yes
"""

# After the second gate, which may change what is deployed. It looks again soon where it could not look, not where it found damage.
FSCK = """\
[Unit]
Description=aistack: is every file of the OS what its checksum says?
ConditionPathExists=/ostree/repo
After=aistack-confirm.service

[Service]
Type=oneshot
Restart=on-failure
RestartPreventExitStatus=1
RestartSec=1h
Environment=PYTHONPATH=/usr/lib/aistack/python PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 -m aistack.node.repository
CPUSchedulingPolicy=idle
IOSchedulingClass=idle
SyslogIdentifier=aistack
"""

# Only above a confirmed deployment: what is on trial must not touch what would start the one below. The program asks for itself whether
# this one is, since gates let pass what a person started that was undone.
ESP = """\
[Unit]
Description=aistack: bring this system's shim and GRUB onto the EFI system partition
ConditionPathExists=/usr/lib/aistack/esp
Requires=boot-complete.target
After=boot-complete.target

[Service]
Type=oneshot
Environment=PYTHONPATH=/usr/lib/aistack/python PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 -m aistack.node.esp
PrivateMounts=yes
TimeoutStartSec=600
SyslogIdentifier=aistack
"""

# Early, so that `started` is sent even when everything after it goes wrong; it never delays what comes after it.
REPORT = """\
[Unit]
Description=aistack: report this boot to the virtual machine's host
DefaultDependencies=no
ConditionCredential=aistack.report
After=systemd-udevd.service systemd-tmpfiles-setup-dev.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=exec
Environment=PYTHONPATH=/usr/lib/aistack/python PYTHONDONTWRITEBYTECODE=1
ImportCredential=aistack.report
ExecStart=/usr/bin/python3 -m aistack.node.report
SyslogIdentifier=aistack-report
"""

# Not Debian's sshd-keygen.service: that one is bound to the first boot, so a power cut in that minute would leave a node without keys.
SSH_KEYS = """\
[Unit]
Description=aistack: make this machine's ssh host key
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -C "" -f /etc/ssh/ssh_host_ed25519_key
"""

# After the gates: a node that is being judged is not changed. Several nodes are spread over a quarter of an hour.
UPDATE_TIMER = """\
[Unit]
Description=aistack: look for an update

[Timer]
OnBootSec=15min
OnUnitActiveSec=30min
RandomizedDelaySec=15min
"""

# It is told to go on when the network fails or an image is refused: the journal and `node status` say so, and no unit is failed for it.
UPDATE = """\
[Unit]
Description=aistack: fetch and stage what the node follows; reboot where its window is open
Documentation=man:systemd.time(7)
ConditionPathExists=/usr/lib/aistack/lock.json
RequiresMountsFor=/var/lib/aistack /boot
Wants=network-online.target
After=network-online.target aistack-confirm.service

[Service]
Type=oneshot
ExecStart=/usr/bin/aistack node update --in-window
SuccessExitStatus=1 3
IOSchedulingClass=idle
Nice=10
TimeoutStartSec=6h
SyslogIdentifier=aistack-update
"""

# Only after a boot that confirmed or came back to what is confirmed, and after the second gate has ended: nothing waits for it. What could
# not be removed (an update runs just then) is in the journal and goes after the next update: no failed unit that makes the node degraded.
CLEAN = f"""\
[Unit]
Description=aistack: remove what no deployment needs
ConditionPathExists=/run/aistack/confirmed
RequiresMountsFor=/var/lib/aistack /boot
After=boot-complete.target

{GATE}ExecStart=/usr/bin/python3 -m aistack.node.agent clean
SuccessExitStatus=3
IOSchedulingClass=idle
TimeoutStartSec=3600
"""

# It looks and tells; a unit is not failed for what it finds, since the second gate would call that degraded at the next boot's end.
WATCH = """\
[Unit]
Description=aistack: is this node still what it was when it started?
ConditionPathExists=/usr/lib/aistack/lock.json
RequiresMountsFor=/var/lib/aistack /boot
After=aistack-confirm.service

[Service]
Type=oneshot
Environment=PYTHONPATH=/usr/lib/aistack/python PYTHONDONTWRITEBYTECODE=1
ExecStart=/usr/bin/python3 -m aistack.node.agent watch
SuccessExitStatus=1 3
Nice=10
TimeoutStartSec=300
TimeoutStopSec=10
SyslogIdentifier=aistack
"""

WATCH_TIMER = """\
[Unit]
Description=aistack: look at this node again

[Timer]
OnBootSec=10min
OnUnitInactiveSec=5min
RandomizedDelaySec=30
"""

SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""

# The credentials firstboot.* stay honoured; only the questions on the console go, since nobody sits there.
FIRST_BOOT_WITHOUT_QUESTIONS = """\
[Service]
ExecStart=
ExecStart=systemd-firstboot
StandardInput=null
StandardOutput=journal
StandardError=journal
"""

PRESET = """\
enable getty@.service
enable nvidia-fabricmanager.service
enable remote-fs.target
enable ssh.service
enable systemd-network-generator.service
enable systemd-networkd.service
enable systemd-pstore.service
enable systemd-resolved.service
enable systemd-timesyncd.service
enable ostree-remount.service
enable ostree-finalize-staged.path
enable fstrim.timer
disable *
"""

# The last thing that runs: file systems are unmounted, so the host may end the machine here and now. Port 0xf4 is QEMU's
# isa-debug-exit; the byte 0x3d makes QEMU end with (0x3d << 1) | 1 = 123. The file exists only after a completed boot report.
# Debian's cloud kernel has no /dev/port, so the one `out` instruction is put into memory and called; a kernel in lockdown
# (Secure Boot) forbids this as it forbids /dev/port, and the machine then powers off as any other.
SHUTDOWN = """\
#!/bin/sh
[ "$1" = poweroff ] && [ -e /run/aistack/exit-status ] && [ "$(uname -m)" = x86_64 ] || exit 0
exec /usr/bin/python3 -I -S - <<'END'
import ctypes
import mmap

libc = ctypes.CDLL(None, use_errno=True)
if libc.ioperm(0xF4, 1, 1) == 0:
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("66baf400b03deec3"))  # mov dx, 0xf4; mov al, 0x3d; out dx, al; ret
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
END
"""

# systemd has no credential for a proxy. An environment generator reaches every service, podman and the containers that it starts.
PROXY_GENERATOR = """\
#!/bin/sh
for name in http_proxy https_proxy no_proxy; do
    file=/run/credentials/@system/aistack.$name
    [ -r "$file" ] || continue
    value=$(head -n 1 "$file")
    upper=$(printf %s "$name" | tr a-z A-Z)
    printf '%s=%s\\n%s=%s\\n' "$name" "$value" "$upper" "$value"
done
"""

JOURNAL = """\
[Journal]
Storage=persistent
SystemMaxUse=512M
SystemKeepFree=1G
MaxRetentionSec=90day
"""

# A credential network.network.NAME becomes a file that sorts before this one, and the first that matches wins.
NETWORK = """\
[Match]
Type=ether
Kind=!*

[Network]
DHCP=yes

[DHCPv4]
UseDomains=yes
"""

# Read before systemd's provision.conf, which puts the ssh key of a credential into /root, a link into /var.
TMPFILES = """\
d /var/roothome 0700 root root -
d /var/lib/aistack 0755 root root -
d /run/aistack 0755 root root -
d /run/aistack/models 0755 root root -
d /var/lib/containers 0755 root root -
L+ /var/lib/systemd/catalog/database - - - - /usr/lib/systemd/catalog/database
"""

LAUNCHER = """\
#!/usr/bin/python3
import sys
sys.path.insert(0, "/usr/lib/aistack/python")
from aistack.cli import main
main()
"""

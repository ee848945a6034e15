"""What every aistack node carries: gates, model mounts, boot report, first boot, and settings that come as credentials."""

from __future__ import annotations

from aistack.compose.render import grub, units
from aistack.facts import events
from aistack.facts.files import Rendered, RenderedFile, RenderedLink

UNITS = "/usr/lib/systemd/system"
PYTHON_PATH = "/usr/lib/aistack/python"
START_NOTES = "/usr/libexec/aistack/start"

# Started through links below /usr, not through presets: presets are applied once, at the first boot, so a unit that arrives with a
# later system image would never be enabled.
WANTED = (
    ("multi-user.target", "aistack-start.service"),
    ("multi-user.target", "aistack-check.service"),
    ("multi-user.target", "aistack-confirm.service"),
    ("multi-user.target", "boot-complete.target"),
    ("multi-user.target", "aistack-clean.service"),
    ("multi-user.target", "ssh.service"),
    ("multi-user.target", "systemd-networkd.service"),
    ("sysinit.target", "systemd-network-generator.service"),
    ("sysinit.target", "systemd-resolved.service"),
    ("ssh.service", "aistack-ssh-keys.service"),
    ("sysinit.target", "aistack-report.service"),
    ("sysinit.target", "aistack-deadline.timer"),
    ("emergency.target", "aistack-deadline.service"),
    ("emergency.target", "aistack-emergency.timer"),
    ("multi-user.target", "aistack-esp.service"),
    ("timers.target", "aistack-fsck.timer"),
    ("timers.target", "aistack-update.timer"),
    ("timers.target", "aistack-watch.timer"),
)
REQUIRED = (("boot-complete.target", "aistack-confirm.service"),)


def render_node() -> tuple[Rendered, ...]:
    """The files of the node part, sorted by path; the Python package itself is put beside them at /usr/lib/aistack/python."""
    files: list[Rendered] = [
        _file(f"{UNITS}/aistack-check.service", units.CHECK),
        _file(f"{UNITS}/aistack-start.service", units.START),
        _file(START_NOTES, units.START_NOTES, mode=0o755),
        _file(f"{UNITS}/aistack-models.service", units.MODELS),
        _file(f"{UNITS}/aistack-confirm.service", units.CONFIRM),
        _file(f"{UNITS}/aistack-deadline.timer", units.DEADLINE_TIMER),
        _file(f"{UNITS}/aistack-deadline.service", units.DEADLINE),
        _file(f"{UNITS}/aistack-emergency.timer", units.EMERGENCY_TIMER),
        _file(f"{UNITS}/aistack-esp.service", units.ESP),
        _file(f"{UNITS}/aistack-fsck.timer", units.FSCK_TIMER),
        _file(f"{UNITS}/aistack-fsck.service", units.FSCK),
        _file(f"{UNITS}/aistack-report.service", units.REPORT),
        _file(f"{UNITS}/aistack-ssh-keys.service", units.SSH_KEYS),
        _file(f"{UNITS}/aistack-clean.service", units.CLEAN),
        _file(f"{UNITS}/aistack-update.service", units.UPDATE),
        _file(f"{UNITS}/aistack-update.timer", units.UPDATE_TIMER),
        _file(f"{UNITS}/aistack-watch.service", units.WATCH),
        _file(f"{UNITS}/aistack-watch.timer", units.WATCH_TIMER),
        _file(f"{UNITS}/systemd-firstboot.service.d/50-aistack.conf", units.FIRST_BOOT_WITHOUT_QUESTIONS),
        _file("/usr/lib/systemd/system-preset/00-aistack.preset", units.PRESET),
        _file("/usr/lib/systemd/system-shutdown/50-aistack", units.SHUTDOWN, mode=0o755),
        _file("/usr/lib/systemd/system-environment-generators/50-aistack-proxy", units.PROXY_GENERATOR, mode=0o755),
        _file("/usr/lib/systemd/journald.conf.d/50-aistack.conf", units.JOURNAL),
        _file("/usr/lib/systemd/catalog/aistack.catalog", events.catalog()),
        _file("/usr/lib/systemd/network/90-aistack.network", units.NETWORK),
        _file("/usr/lib/tmpfiles.d/00-aistack.conf", units.TMPFILES),
        _file("/etc/ssh/sshd_config.d/50-aistack.conf", units.SSHD),
        _file("/usr/bin/aistack", units.LAUNCHER, mode=0o755),
        _file(grub.PROGRAM, grub.SCRIPT, mode=0o755),
        _file(f"{UNITS}/ostree-finalize-staged.service.d/50-aistack.conf", grub.FINALIZE),
        RenderedLink(path="/usr/lib/bootc/storage", target="../../../sysroot/ostree/bootc/storage"),
    ]
    files += [RenderedLink(path=f"{UNITS}/{target}.wants/{unit}", target=f"../{unit}") for target, unit in WANTED]
    files += [RenderedLink(path=f"{UNITS}/{target}.requires/{unit}", target=f"../{unit}") for target, unit in REQUIRED]
    return tuple(sorted(files, key=lambda file: file.path))


def _file(path: str, text: str, *, mode: int = 0o644) -> RenderedFile:
    return RenderedFile(path=path, content=text.encode(), mode=mode)

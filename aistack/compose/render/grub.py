"""The program that writes GRUB's menu from boot loader entries, and the boot counting that every menu begins with."""

from __future__ import annotations

PROGRAM = "/usr/libexec/aistack/grub-config"

# GRUB 2.12 has neither arithmetic nor a loop over numbers, hence the ladder. Whoever deploys sets boot_counter to the number of tries;
# each boot takes one, before the kernel is loaded, so that panics, hangs and power cuts count too. At -1 the second entry, the one
# that was confirmed, is started, and it stays so until a healthy node clears the counter. Nothing reboots because of the counter.
COUNTING = """\
insmod loadenv
if [ -s $prefix/grubenv ]; then
  load_env --file $prefix/grubenv boot_counter
fi
if [ -n "${boot_counter}" ]; then
  if [ "${boot_counter}" = "3" ]; then
    set boot_counter=2
  elif [ "${boot_counter}" = "2" ]; then
    set boot_counter=1
  elif [ "${boot_counter}" = "1" ]; then
    set boot_counter=0
  else
    set boot_counter=-1
    set default=1
  fi
  save_env --file $prefix/grubenv boot_counter
fi
"""

HEADER = """\
# Written by /usr/libexec/aistack/grub-config from the entries beside it; changes are lost.
set default=0
set timeout=1
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
"""

# libostree runs it as `PROGRAM -o /boot/loader.N/grub.cfg` and then swaps /boot/loader, so the menu changes in one step.
# A shell script, because it also runs at shutdown (finalization of a staged deployment), where time is short.
SCRIPT = f"""\
#!/bin/sh
set -eu
[ "$1" = -o ]
entries=$(ls "${{2%/*}}"/entries/*.conf | sort -Vr)
[ -n "$entries" ]
{{
cat <<'EOF'
{HEADER}EOF
[ "$(echo "$entries" | wc -l)" -lt 2 ] || cat <<'EOF'
{COUNTING}EOF
for entry in $entries; do
    title= linux= initrd= options=
    while read -r key value; do
        case $key in
            title) title=$(echo "$value" | tr -d "'") ;;
            linux) linux=$value ;;
            initrd) initrd=$value ;;
            options) options=$value ;;
        esac
    done < "$entry"
    printf "menuentry '%s' --unrestricted {{\\n  linux %s %s\\n  initrd %s\\n}}\\n" "$title" "$linux" "$options" "$initrd"
done
}} > "$2"
"""

# The link is swapped during shutdown by this service, which does not have the environment of the process that staged.
FINALIZE = f"""\
[Service]
Environment=OSTREE_GRUB2_EXEC={PROGRAM}
"""

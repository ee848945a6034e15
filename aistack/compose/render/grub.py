"""The program that writes GRUB's menu from boot loader entries, and the boot counting that every menu begins with."""

from __future__ import annotations

PROGRAM = "/usr/libexec/aistack/grub-config"

TRIAL_ARGUMENT = "aistack.trial"
"""On the kernel's command line of every boot that is counted, and of no other."""

# GRUB 2.12 has neither arithmetic nor a loop over numbers, hence the ladder. Whoever deploys names in `trial` the deployment that is to
# prove itself, and in boot_counter the number of tries. It may do so before that deployment is in the menu: boots are counted only while
# the first entry is that very one. Each boot takes a try, before the kernel is loaded, so that panics, hangs and power cuts count too.
# At -1 the second entry, the one that ran before, is started, and it stays so until a node clears both. A counted boot's kernel is told
# so, and its initramfs restarts where it would else wait for somebody at a console; a boot that is not counted restarts for neither reason.
# What GRUB itself cannot load (refused by Secure Boot, of another architecture, not to be read) restarts nothing: without a fallback GRUB
# would wait at its menu for ever. The fallback's kernel does not hear of the trial, so that the node sees what it fell back from.
COUNTING = f"""\
set fallback=1
insmod loadenv
if [ -s $prefix/grubenv ]; then
  load_env --file $prefix/grubenv trial boot_counter
fi
if [ "${{trial}}" = "@FIRST@" ]; then
  if [ "${{boot_counter}}" = "3" ]; then
    set boot_counter=2
  elif [ "${{boot_counter}}" = "2" ]; then
    set boot_counter=1
  elif [ "${{boot_counter}}" = "1" ]; then
    set boot_counter=0
  else
    set boot_counter=-1
    set default=1
    set fallback=0
  fi
  if [ "${{default}}" = "0" ]; then
    set on_trial="{TRIAL_ARGUMENT} rd.shell=0 rd.emergency=reboot"
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

# The kernel's arguments go through GRUB's own shell. Double quotes mean the same there; what else it would take for itself is escaped.
ESCAPED = r"""escaped() {
    printf '%s\n' "$1" | awk -F '"' '{
        for (part = 1; part <= NF; part++) {
            if (part % 2) gsub(/[$;&|<>{}#\047\\]/, "\\\\&", $part)
            else gsub(/[$\\]/, "\\\\&", $part)
            printf "%s%s", $part, (part < NF ? "\"" : "\n")
        }
    }'
}
"""

# libostree runs it as `PROGRAM -o /boot/loader.N/grub.cfg` and then swaps /boot/loader, so the menu changes in one step.
# A shell script, because it also runs at shutdown (finalization of a staged deployment), where time is short.
# A deployment's name, CHECKSUM.SERIAL, is where the link leads that its entry names in `ostree=`.
SCRIPT = f"""\
#!/bin/sh
set -eu
{ESCAPED}[ "$1" = -o ]
entries=$(ls "${{2%/*}}"/entries/*.conf | sort -Vr)
[ -n "$entries" ]
newest=$(echo "$entries" | head -n 1)
link=$(sed -n 's/^options .*ostree=\\([^ ]*\\).*/\\1/p' "$newest")
deployment=$(readlink -e "${{2%/boot/*}}$link")
{{
cat <<'EOF'
{HEADER}EOF
[ "$(echo "$entries" | wc -l)" -lt 2 ] || sed "s/@FIRST@/${{deployment##*/}}/" <<'EOF'
{COUNTING}EOF
on_trial=' $on_trial'
for entry in $entries; do
    title= linux= initrd= options=
    while read -r key value; do
        case $key in
            title) title=$(echo "$value" | tr -d "'") ;;
            linux) linux=$value ;;
            initrd) initrd=$value ;;
            options) options=$(escaped "$value") ;;
        esac
    done < "$entry"
    printf "menuentry '%s' --unrestricted {{\\n  linux %s %s%s\\n  initrd %s\\n}}\\n" "$title" "$linux" "$options" "$on_trial" "$initrd"
    on_trial=
done
}} > "$2"
"""

# The link is swapped during shutdown by this service, which does not have the environment of the process that staged.
FINALIZE = f"""\
[Service]
Environment=OSTREE_GRUB2_EXEC={PROGRAM}
"""

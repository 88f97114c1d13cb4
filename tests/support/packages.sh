#!/bin/sh
# Installs the Debian packages whose programs some tests use, as far as that can be done here. What can't be installed
# is told in a line; the tests that want it are skipped then, and say so themselves.
export DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/sbin:/sbin

go_without() {
    echo "The tests go without $1: $2"
}

missing() {
    while read -r program package; do
        command -v "$program" >/dev/null || echo "$package"
    done <<END
chromium chromium
cloud-init cloud-init
fish fish
git git
mkfs.ext4 e2fsprogs
pdftotext poppler-utils
setpriv util-linux
systemd-analyze systemd
zsh zsh
END
}

install() {
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    apt-get update -qq >"$log" 2>&1 || { go_without "$*" "apt-get update: $(tail -n 1 "$log")"; return; }
    for package in "$@"; do
        echo "Installing $package for the tests ..."
        apt-get install -y -qq --no-install-recommends "$package" >"$log" 2>&1 \
            || go_without "$package" "apt-get install: $(tail -n 1 "$log")"
    done
}

set -- $(missing)
if [ $# -eq 0 ]; then
    exit
elif ! command -v apt-get >/dev/null; then
    go_without "$*" "there is no apt-get here to install them"
elif [ "$(id -u)" != 0 ]; then
    go_without "$*" "only root can install them (sudo apt-get install $*)"
else
    install "$@"
fi

#!/usr/bin/env bash
# Unpacks Debian's Slurm into a folder, for the tests in this one; nothing is installed.  Usage: fetch.sh FOLDER
set -euo pipefail
folder=$(realpath --canonicalize-missing "${1:?give the folder to unpack into}")
packages=(slurmctld slurmd slurm-client slurm-wlm-basic-plugins
  libhwloc15 libjson-c5 liblua5.1-0 libmunge2 libyaml-0-2 libnuma1 libdbus-1-3 libreadline8)
mkdir -p "$folder/packages"
cd "$folder/packages"
apt-get download --quiet "${packages[@]}"
for package in *.deb; do dpkg -x "$package" "$folder/root"; done
touch "$folder/unpacked"

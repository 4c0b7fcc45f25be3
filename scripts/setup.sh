#!/bin/sh
# Installs what building, testing and the demo need and is not there yet (Debian and its kin).
#
#   setup.sh             Debian packages
#   setup.sh --python    these, and .venv with what the Python tests compare with (requirements-test.txt)
#   setup.sh --cross     these, and the compiler for AArch64 and the emulator that runs its tests
#   setup.sh --wasm      these, and emscripten (110 MB to fetch, 900 MB on the disk, 20 s) with a node to run its tests and
#                        esbuild, which puts the explorer's page together
#   setup.sh --browser   these, and chromium with its driver for tests of the explorer's page (120 MB to fetch, 380 MB)
#
# May be run any number of times; with everything there it asks no network and takes a second. PYTHON names the
# interpreter of the environment (default: python3).
set -eu
# shellcheck disable=SC2086  # lists of package names are split into words on purpose

repository=$(cd "$(dirname "$0")/.." && pwd)
requirements=$repository/scripts/requirements-test.txt
venv=$repository/.venv

needed="g++ cmake ninja-build make pkg-config python3 python3-venv python3-dev git libdnnl-dev libgtest-dev libgmock-dev
libbenchmark-dev nlohmann-json3-dev libcli11-dev libfmt-dev libpcre2-dev libssl-dev libjs-chart.js"
# Without these all builds and runs: the demo takes the text in lab/, and formatting is not checked.
cross="g++-aarch64-linux-gnu qemu-user googletest"
wasm="emscripten node-acorn node-typescript googletest esbuild"
browser="chromium chromium-driver"
wished="bible-kjv jargon-text clang-format-14"

say() { echo "setup: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# The packages among the arguments that are not installed.
absent() {
  for package in "$@"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then echo "$package"; fi
  done
}

debian_packages() {
  if ! command -v dpkg-query >/dev/null; then
    fail "want a Debian-like system (dpkg-query); elsewhere install the equivalents of:" $needed
  fi
  missing=$(absent $needed)
  wished_missing=$(absent $wished)
  if [ -z "$missing$wished_missing" ]; then
    say "every Debian package is there"
    return
  fi

  # Who may install: root, a sudo that needs no password, or one that can ask for it.
  if [ "$(id -u)" -eq 0 ]; then
    as_root="env"
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root="sudo env"
  else
    say "these Debian packages are missing, and this user cannot install them; as root, run:"
    say "  apt-get update && apt-get install --no-install-recommends" $missing $wished_missing
    if [ -n "$missing" ]; then exit 1; fi
    say "goes on: none of these is necessary"
    return
  fi

  say "installs" $missing $wished_missing
  apt="$as_root DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300"
  # A failed update is no end: the lists that are there may do.
  $apt update >&2 || say "apt-get update failed; goes on with the package lists that are there"
  if [ -n "$missing" ]; then
    $apt install --no-install-recommends $missing >&2 ||
      fail "apt-get could not install" $missing "(its own messages stand above; is there a network?)"
  fi
  # One by one: a release that has no such package should lack this one alone.
  for package in $wished_missing; do
    $apt install --no-install-recommends "$package" >&2 || say "goes on without $package"
  done
  say "every necessary Debian package is there"
}

# Run through sudo, or as root in somebody's checkout, what we make belongs to the checkout's owner.
owner=$(stat -c %u "$repository")
group=$(stat -c %g "$repository")
for_another() { [ "$(id -u)" -eq 0 ] && [ "$owner" -ne 0 ]; }
give_back() {
  if for_another && [ -e "$venv" ]; then chown -R "$owner:$group" "$venv"; fi
}

python_environment() {
  python=${PYTHON:-python3}
  command -v "$python" >/dev/null || fail "$python: want a Python interpreter, got none"
  # root's python3 may lie where the owner, who is to use .venv, cannot go.
  if for_another && ! setpriv --reuid="$owner" --regid="$group" --clear-groups "$python" -c "" 2>/dev/null; then
    say "$python: the owner of $repository cannot run it, takes /usr/bin/python3"
    python=/usr/bin/python3
  fi
  # The stamp names what was installed with what, and is written last: an interrupted installation has none.
  stamp=$venv/requirements.stamp
  wanted="$("$python" --version 2>&1) $(sha256sum <"$requirements")"
  if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    say ".venv is there and up to date"
    return
  fi
  trap give_back EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  rm -f "$stamp"
  say "makes .venv"
  "$python" -m venv "$venv" >&2 || fail "$venv: $python -m venv failed (Debian: python3-venv)"
  export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
  # torch alone first: pulled in by another package, an unpinned one could come.
  torch=$(grep '^torch==' "$requirements")
  say "installs $torch (about 200 MB, or gigabytes where only the CUDA build is on offer)"
  "$venv/bin/python" -m pip install "$torch" >&2 || fail "pip could not install $torch"
  say "installs the other requirements"
  "$venv/bin/python" -m pip install -r "$requirements" >&2 || fail "pip could not install $requirements"
  echo "$wanted" >"$stamp"
  say ".venv is ready"
}

with_python=0
for argument in "$@"; do
  case $argument in
    --python) with_python=1 ;;
    --cross) needed="$needed $cross" ;;
    --wasm)
      needed="$needed $wasm"
      # Any node does; Debian's where there is none.
      if ! command -v node >/dev/null && ! command -v nodejs >/dev/null; then needed="$needed nodejs"; fi
      ;;
    --browser) needed="$needed $browser" ;;
    -h | --help)
      sed -n '2,12s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      say "$argument: want --python, --cross, --wasm, --browser or nothing"
      exit 2
      ;;
  esac
done

debian_packages
if [ "$with_python" -eq 1 ]; then python_environment; fi

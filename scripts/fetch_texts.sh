#!/bin/sh
# Makes the demo's texts in the cache from Debian's packages, and prints their paths on stdout, one a line.
#
#   fetch_texts.sh [bible] [jargon]     the texts wanted, in this order; both without a name
#
#   bible.txt    package bible-kjv    the King James Bible, a verse a line, 4.4 MB
#   jargon.txt   package jargon-text  the Jargon File, 1.7 MB
#
# Both are in the public domain. They go to $ROPEWALK_CACHE/texts, or .cache/texts in the repository. A text that is
# there is kept; each takes its place in one rename.
# Exit codes: 0 they are there; 2 an unknown name; 3 a package is missing (the line on stderr names it).
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
texts=${ROPEWALK_CACHE:-$repository/.cache}/texts
part=
missing=0

say() { echo "fetch_texts: $*" >&2; }

remove_part() { if [ -n "$part" ]; then rm -f "$part"; fi; }
trap remove_part EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# make NAME COMMAND...: runs the command into texts/NAME, unless it is there.
make() {
  name=$1
  shift
  if [ ! -s "$texts/$name" ]; then
    part=$(mktemp "$texts/.$name.XXXXXX")
    if ! "$@" >"$part" || [ ! -s "$part" ]; then
      say "$name: want a text from '$*', got a failure or nothing"
      exit 1
    fi
    chmod 644 "$part"
    mv "$part" "$texts/$name"
    part=
    say "made $name"
  fi
  echo "$texts/$name"
}

make_bible() {
  # Debian has kept it in /usr/bin and in /usr/games, which is not on root's path.
  program=$(command -v bible || command -v /usr/games/bible || true)
  if [ -n "$program" ] || [ -s "$texts/bible.txt" ]; then
    make bible.txt "$program" -f gen1:1-rev22:21
  else
    say "bible.txt: want the package bible-kjv (apt-get install bible-kjv)"
    missing=1
  fi
}

make_jargon() {
  archive=/usr/share/doc/jargon-text/jargon.txt.gz
  if [ -f "$archive" ] || [ -s "$texts/jargon.txt" ]; then
    make jargon.txt gzip -dc "$archive"
  else
    say "jargon.txt: want $archive of the package jargon-text (apt-get install jargon-text)"
    missing=1
  fi
}

if [ $# -eq 0 ]; then set -- bible jargon; fi
for text in "$@"; do
  case $text in
    bible | jargon) ;;
    *)
      say "$text: want bible or jargon"
      exit 2
      ;;
  esac
done

mkdir -p "$texts"
for text in "$@"; do "make_$text"; done
if [ "$missing" -ne 0 ]; then exit 3; fi

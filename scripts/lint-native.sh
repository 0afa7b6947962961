#!/usr/bin/env bash
# clang-format over all of the C++, clang-tidy over the core and the addon; both as Debian 12 has them (14).
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for program in clang-format clang-tidy; do
  command -v "$program" >/dev/null || { echo "$program is missing. Install it: apt install $program" >&2; exit 1; }
done
git ls-files 'binding/*.cc' 'binding/*.h' 'test/native/*.cc' 'test/native/*.h' | xargs clang-format --dry-run -Werror
[ -f build/compile_commands.json ] || npx cmake-js configure --config Release
git ls-files 'binding/*.cc' | xargs -P "$(nproc)" -n 3 clang-tidy --quiet -p build

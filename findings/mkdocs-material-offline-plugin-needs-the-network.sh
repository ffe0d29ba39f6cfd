#!/usr/bin/env bash
# Material for MkDocs 9.8.2 (with MkDocs 1.6.1): the plugin that makes a site usable offline puts a script into every
# page that comes from a public CDN.
#
# Expected: `plugins: [offline, search]` gives pages that load nothing from elsewhere, as the plugin's name says; without
# the plugin there is no such script, with `font: false`.
# Seen: with the plugin, each page begins with <script src="https://.../iframe-worker/shim">; without it, none does.
# Opened from a disk without a network, the search then has no worker. Either the privacy plugin has to be on, too (it
# fetches the script while building), or `extra.polyfills` names a copy of one's own.
# For us: docs/ is built without the plugin; `use_directory_urls: false` is enough for pages that open from a disk.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mkdocs==1.6.1 mkdocs-material==9.8.2
mkdir "$work/docs"
echo '# A page' >"$work/docs/index.md"

scripts_from_elsewhere() { # PLUGINS: how many scripts of other hosts the built page asks for
    printf 'site_name: x\nuse_directory_urls: false\ntheme:\n  name: material\n  font: false\nplugins: [%s]\n' "$1" \
        >"$work/mkdocs.yml"
    (cd "$work" && NO_MKDOCS_2_WARNING=1 "$work/venv/bin/mkdocs" build --quiet --site-dir site)
    { grep -o '<script[^>]*src="https://[^"]*"' "$work/site/index.html" || true; } | wc -l
}

without=$(scripts_from_elsewhere search)
with=$(scripts_from_elsewhere offline,search)
echo "scripts from other hosts: $without without the offline plugin, $with with it"
[ "$without" -eq 0 ] && [ "$with" -eq 1 ]

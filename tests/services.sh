#!/bin/sh
# Programs that some tests drive, from Debian's packages: a browser, PostgreSQL, and a validator of DICOM objects.
# Installed where this user may (root, apt-get); elsewhere it is said which tests will be skipped. tests/services.py
# asks again when a test runs; with SIGHTLINE_REQUIRE_SERVICES=1 a missing program fails the tests instead.
set -u

missing() {
  command -v chromium > /dev/null || command -v chromium-browser > /dev/null || echo chromium
  command -v initdb > /dev/null || ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || echo postgresql
  command -v dciodvfy > /dev/null || echo dicom3tools
}

need=$(missing | tr '\n' ' ')
[ -n "$need" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "installing from Debian's packages: $need"
  export DEBIAN_FRONTEND=noninteractive
  for package in $need; do # one by one: what cannot be had must not keep out what can
    apt-get install -y -qq --no-install-recommends "$package" > /dev/null 2>&1 && continue
    apt-get update -qq > /dev/null 2>&1
    apt-get install -y -qq --no-install-recommends "$package" > /dev/null || echo "$package could not be installed"
  done
fi
for package in $(missing); do
  case $package in
    chromium) tests="the tests in a browser" ;;
    postgresql) tests="the tests of reader studies on PostgreSQL" ;;
    *) tests="the validation of DICOM objects by dciodvfy" ;;
  esac
  echo "$package is not installed: $tests will be skipped (as root: apt-get install $package)"
done
[ -z "$(missing)" ] || [ "${SIGHTLINE_REQUIRE_SERVICES:-0}" != 1 ]

#!/usr/bin/env bash
# The main job of slipway on a machine without Docker: bootstrap a base image, build the example through a GitLab job's four
# hooks, publish it, change one line, build again, and serve the published image. Called by `make demo`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

slipway=${SLIPWAY:?path of the slipway program}
work=$PWD/target/demo
base_tar=$work/base.tar
port=${DEMO_REGISTRY_PORT:-5055}
registry=127.0.0.1:$port
page_port=${DEMO_PAGE_PORT:-8090}

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
skip() { echo "demo: skipped: $*"; exit 0; }

[ "$(id -u)" = 0 ] || skip "bootstrapping a base image and running containers need root here (make test covers rootless)"
for program in mmdebstrap docker-registry git curl; do
  command -v "$program" >/dev/null || skip "$program is not installed"
done

mkdir -p "$work"
rm -rf "$work/state" "$work/other-host" "$work/project" "$work/registry" "$work"/*.log
registry_pid=
finish() {
  [ -z "$registry_pid" ] || kill "$registry_pid" 2>/dev/null || true
  SLIPWAY_STATE_DIR=$work/other-host "$slipway" image stop hello-page >/dev/null 2>&1 || true
}
trap finish EXIT

export SLIPWAY_STATE_DIR=$work/state SLIPWAY_RUNTIME=embedded WERF_HOME=$work/home

if [ ! -f "$base_tar" ]; then
  say "Bootstrapping a base image from Debian's packages (about a minute, once)"
  sources=(/etc/apt/sources.list.d/debian.sources)
  [ -f "${sources[0]}" ] || sources=()
  mmdebstrap --quiet --variant=essential --include=busybox-static,bash --format=tar bookworm "$base_tar.part" \
    ${sources[@]+"${sources[@]}"} >"$work/mmdebstrap.log" 2>&1 || { tail -n 20 "$work/mmdebstrap.log"; exit 1; }
  mv "$base_tar.part" "$base_tar"
fi
say "Importing it as slipway-demo/base"
"$slipway" image import slipway-demo/base:12 "$base_tar"

say "Starting a registry on $registry"
cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: $registry}
YML
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry_pid=$!
for _ in $(seq 100); do curl -fsS "http://$registry/v2/" >/dev/null 2>&1 && break; sleep 0.1; done

say "Making a git repository of gitlab-examples/hello"
cp -r gitlab-examples/hello "$work/project"
cd "$work/project"
git init -q -b main .
git -c user.name=demo -c user.email=demo@example.com add -A
git -c user.name=demo -c user.email=demo@example.com commit -qm "A page"

job() { # job LOG: the example's Build job through config, prepare, run and cleanup
  local started=$EPOCHREALTIME
  "$slipway" exec Build \
    --variable "CI_REGISTRY=$registry" --variable "CI_REGISTRY_IMAGE=$registry/hello" --variable "BASE_IMAGE=slipway-demo/base:12" \
    --variable "WERF_PUBLISH_REPORT_PATH=$work/report.json" \
    2>&1 | tee "$1"
  elapsed=$(awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
}
count() { grep -c "$1" "$2" || true; }

say "Running the job Build"
job "$work/first.log"
first_time=$elapsed

say "Changing one line and running it again"
sed -i 's/Hello/Hello again/' page/index.html
git -c user.name=demo -c user.email=demo@example.com commit -qam "Change the page"
job "$work/second.log"
second_time=$elapsed

published=$(tr ',{' '\n\n' <"$work/report.json" | sed -n '/"WerfImageName":"web"/,/DockerTag/s/.*"DockerTag":"\([^"]*\)".*/\1/p')
published=$registry/hello/web:${published:?no tag in the publish report}

say "Running the published image as another host would"
mkdir -p "$work/other-project"
cat >"$work/other-project/werf.yaml" <<YML
project: hello-check
configVersion: 1
---
image: published
from: $published
YML
export SLIPWAY_STATE_DIR=$work/other-host
"$slipway" build --dir "$work/other-project" --stages-storage :local
"$slipway" run --dir "$work/other-project" --stages-storage :local --docker-options="-d --rm --name hello-page -e PORT=$page_port" published
for _ in $(seq 100); do page=$(curl -fsS "http://127.0.0.1:$page_port/" 2>/dev/null) && break; sleep 0.1; done
echo "${page:?the page did not come up}"

say "Summary"
printf '%-14s %s\n' \
  "first run" "$(count 'Building stage .*seconds' "$work/first.log") stages built, $(count 'Use cache image' "$work/first.log") reused, $first_time s" \
  "second run" "$(count 'Building stage .*seconds' "$work/second.log") stages built, $(count 'Use cache image' "$work/second.log") reused, $second_time s" \
  "published" "$published"

#!/bin/bash
# The stack from nothing to nothing: everything is made, computed with, killed, stopped and recreated, and what was
# recorded must still be there. Works on a compose project, ports and passwords of its own; needs an engine and minutes.
#   docker/rehearsal.sh
# CURL names the command that reaches this machine's loopback, where the engine publishes on another one's.
set -euo pipefail
cd "$(dirname "$0")/.."

STUDY=studies/two_step_demo.toml
CURL=${CURL:-curl}
export COMPOSE_PROJECT_NAME=tdlens-rehearsal POSTGRES_PORT=${POSTGRES_PORT:-5434} MLFLOW_PORT=${MLFLOW_PORT:-5001}
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT

compose() { docker compose --progress quiet --env-file "$FOLDER/env" "$@"; }
worker() { compose exec -T worker "$@"; }
say() { printf '\n== %s (%s)\n' "$1" "$(date +%T)"; }
die() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
ask() { compose exec -T db psql -U postgres -d "${2:-tdlens}" -AtF ' | ' -c "$1"; }
# owners of units that take a while, begun since the database last started
leased() {
  ask "SELECT owner FROM job WHERE state = 'leased' AND stage IN ('train_sae', 'intervene')
       AND started_at > pg_postmaster_start_time()"
}
of_workers() { grep -f <(compose ps -q worker | cut -c1-12) || true; }
container() { docker ps -q --filter "id=${1%%/*}"; }
# the status of MLflow's answer to a worker that calls it by this name
status_for() {
  worker python -c "import urllib.request as u, urllib.error as e
address = 'http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1'
try: print(u.urlopen(u.Request(address, headers={'Host': '$1'})).status)
except e.HTTPError as refused: print(refused.code)"
}
until_true() {
  local end=$((SECONDS + 600))
  until "$@"; do [ $SECONDS -lt $end ] || die "waited in vain for: $*"; sleep 2; done
}
# every row of both databases but the workers' heartbeats, every blob and every artifact: how many, and their checksum
fingerprint() {
  for database in tdlens mlflow; do
    compose exec -T db pg_dump -U postgres --data-only --exclude-table-data='worker*' "$database" |
      grep -vE '^(\\(un)?restrict|--|SET|SELECT|$)' | sort >"$FOLDER/rows"
    echo "$database: $(wc -l <"$FOLDER/rows") lines $(sha256sum <"$FOLDER/rows" | cut -c1-16)"
  done
  for place in worker:/data/blobs mlflow:/artifacts; do
    compose exec -T "${place%%:*}" sh -c "cd ${place#*:} && find . -type f | sort | xargs sha256sum" >"$FOLDER/files"
    echo "$place: $(wc -l <"$FOLDER/files") files $(sha256sum <"$FOLDER/files" | cut -c1-16)"
  done
}
# whether the fingerprint's lines that begin so are what they were
kept() {
  fingerprint | tee "$FOLDER/after"
  cmp <(grep -E "^($1)" "$FOLDER/before") <(grep -E "^($1)" "$FOLDER/after") || die "something is lost"
}
mlflow_runs() {
  worker python -c "import mlflow
for run in mlflow.search_runs(search_all_experiments=True, output_format='list'):
    print(run.info.status, len(run.data.metrics), 'metrics', run.info.run_name)"
}

say "a missing variable is refused"
refused=$(docker compose --env-file .env.example config --quiet 2>&1) && die "started without passwords"
grep "copy .env.example to .env" <<<"$refused"

say "build and start"
cp .env.example "$FOLDER/env"
for name in POSTGRES TDLENS_DB MLFLOW_DB; do
  sed -i "s/^${name}_PASSWORD=\$/${name}_PASSWORD=$(openssl rand -hex 24)/" "$FOLDER/env"
done
compose down --volumes --remove-orphans
compose build
compose up -d --wait
compose ps --all --format '{{.Service}}: {{.Status}} {{.Ports}}'

say "what a container may do"
worker id
worker touch /srv/written && die "the root file system is writable"
worker sh -c 'grep -E "CapEff|NoNewPrivs" /proc/self/status'
ask "SELECT datname, datacl FROM pg_database WHERE datname IN ('tdlens', 'mlflow')"
for host in mlflow mlflow:5000 localhost:5000; do
  [ "$(status_for "$host")" = 200 ] || die "MLflow refuses $host"
done
[ "$(status_for evil.example)" = 403 ] || die "MLflow answers to any name"
echo "MLflow answers to mlflow, mlflow:5000, localhost:5000 and refuses evil.example"
[ "$($CURL -s "http://127.0.0.1:$MLFLOW_PORT/health")" = OK ] || die "no MLflow on loopback"
docker stats --no-stream --format '{{.Name}}: {{.MemUsage}}' | grep rehearsal

say "the demo, with one worker beside it"
compose run -T --rm demo
worker tdlens sql "SELECT block, latent, r, ci_low, ci_high FROM v_latent_correlation WHERE signal = 'td_error' AND abs(r) > 0.4
     ORDER BY abs(r) DESC LIMIT 5"
worker tdlens sql "SELECT stage, count(*) AS units, count(DISTINCT owner) AS workers FROM v_job GROUP BY stage"
mlflow_runs
compose cp worker:/data/reports "$FOLDER/reports"
ls "$FOLDER/reports/two_step_demo"

say "four workers and another study; one is killed, the database restarts, one is stopped"
compose up -d --wait --scale worker=4
compose run -T -d --rm --name tdlens-rehearsal-second demo tdlens run $STUDY \
  --set seed=1 --set 'name="second"' --set task.rollouts=40
all_four() { [ "$(leased | of_workers | wc -l)" -ge 4 ]; }
until_true all_four
worker tdlens status
kill_one_at_work() {
  victim=$(leased | of_workers | head -1) && [ -n "$victim" ] || return 1
  docker kill --signal KILL "$(container "$victim")" >"$FOLDER/null"
  unit=$(ask "SELECT id, stage, key FROM job WHERE state = 'leased' AND owner = '$victim'")
  [ -n "$unit" ]
}
until_true kill_one_at_work
echo "killed $victim at $unit"
compose restart db
compose exec -T db sh -c 'until pg_isready -qh 127.0.0.1; do sleep 1; done'
someone() { stopped=$(leased | of_workers | tail -1) && [ -n "$stopped" ]; }
until_true someone
time docker stop "$(container "$stopped")" >"$FOLDER/null"
docker logs --tail 2 "${stopped%%/*}"
[ -z "$(leased | grep -F "${stopped%%/*}")" ] || die "a stopped worker kept its unit"
ended() { ! docker inspect tdlens-rehearsal-second >"$FOLDER/null" 2>&1; }
until_true ended
ask "SELECT state, count(*), count(DISTINCT owner) AS workers, max(attempt) FROM v_job WHERE study = 'second' GROUP BY 1"
[ "$(ask "SELECT count(*) FROM v_job WHERE study = 'second' AND state <> 'done'")" = 0 ] || die "units are left"
echo "the killed worker's unit: $(ask "SELECT stage, key, attempt, state, owner FROM job WHERE id = ${unit%% *}")"

say "every container is recreated"
compose up -d --wait
fingerprint | tee "$FOLDER/before"
compose up -d --wait --force-recreate
kept '.*'

say "down and up"
compose down
compose up -d --wait
kept '.*'
worker tdlens fsck --full

say "the demo again: nothing is left to compute, and only its report and MLflow's copy of that are written"
compose run -T --rm demo 2>&1 | tee "$FOLDER/again"
grep -q ": 0 units computed" "$FOLDER/again" || die "the demo was computed again"
kept 'tdlens|worker'
mlflow_runs

say "away"
compose down --volumes

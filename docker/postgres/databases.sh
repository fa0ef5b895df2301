#!/bin/bash
# Run once, on an empty volume: a database and a role each for tdlens and MLflow, which never share one.
set -euo pipefail

for name in tdlens mlflow; do
  variable="${name^^}_DB_PASSWORD"
  psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set role="$name" --set password="${!variable:?is not set}" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE CONNECT ON DATABASE :"role" FROM PUBLIC;
SQL
done

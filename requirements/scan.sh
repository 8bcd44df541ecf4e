#!/bin/sh
# Scans the template, the image and the locked packages: `make scan`. The scanners pin what the
# project pins otherwise, so they have a virtual environment of their own, .tools/scan.
set -eu
cd "$(dirname "$0")/.."
scan=.tools/scan/bin

echo "scan: cfn-lint, with the serverless rules"
"$scan/cfn-lint" --append-rules cfn_lint_serverless.rules --regions us-east-1 eu-west-1 \
    --template lambda/template.yaml
echo "scan: checkov"
"$scan/checkov" --file lambda/template.yaml --framework cloudformation --compact --quiet \
    --skip-download
# checkov does not follow ARG: it is shown the base image by the name that it has by default
shown=$(mktemp -d)
trap 'rm -rf "$shown"' EXIT
base=$(sed -n 's/^ARG BASE=//p' inference/Dockerfile)
sed "s|^FROM \${BASE}|FROM $base|" inference/Dockerfile > "$shown/Dockerfile"
"$scan/checkov" --file "$shown/Dockerfile" --framework dockerfile --compact --quiet \
    --skip-download
echo "scan: hadolint"
"$scan/hadolint" inference/Dockerfile
echo "scan: ruff's security rules"
.venv/bin/ruff check --select S --quiet .
echo "scan: pip-audit"
audited=
for lock in requirements/base.lock requirements/torch.lock inference/requirements.lock; do
    status=0
    "$scan/python" requirements/audit.py "$lock" || status=$?
    case $status in
        0) ;;
        3) audited=", but for pip-audit, which could not ask: run it where the index has advisories" ;;
        *) exit $status ;;
    esac
done
echo "scan: clean$audited"

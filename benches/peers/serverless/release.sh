#!/bin/sh
# Releases with osls, the open continuation of Serverless 3. Serverless 4 asks for an account of its maker.
#
# release.sh release VERSION
set -eu
program=$(realpath "$BINARY")
cd "$(dirname "$0")"
cp "$program" bootstrap
python3 -m zipfile -c code.zip bootstrap
node_modules/.bin/osls deploy --stage peers

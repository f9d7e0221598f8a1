#!/bin/sh
# Deploys functions with cargo-lambda, which knows neither the API nor its stage: callers see each function change by
# itself.
#
# release.sh code-only VERSION   deploys dist's program
# release.sh build VERSION       builds it first
set -eu
if [ "$1" = build ]; then
    cargo lambda build --release --package users
    BINARY=${CARGO_TARGET_DIR:-target}/lambda/users/bootstrap
fi
for function in $FUNCTIONS; do
    cargo lambda deploy --endpoint-url "$AWS_ENDPOINT_URL" --binary-path "$BINARY" "${function#*=}"
done

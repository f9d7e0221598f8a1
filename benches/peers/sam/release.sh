#!/bin/sh
# Releases with AWS SAM: its stack has a function and a route for each of FUNCTIONS.
#
# release.sh release VERSION
set -eu
program=$(realpath "$BINARY")
cd "$(dirname "$0")"
export SAM_CLI_TELEMETRY=0
mkdir -p code
cp "$program" code/bootstrap
{
    cat <<'TEMPLATE'
Transform: AWS::Serverless-2016-10-31
Globals:
  Function: {Runtime: provided.al2023, Handler: bootstrap, CodeUri: code/, AutoPublishAlias: live}
Resources:
TEMPLATE
    for function in $FUNCTIONS; do
        key=${function%%=*}
        cat <<TEMPLATE
  $(echo "$key" | tr -d _):
    Type: AWS::Serverless::Function
    Properties: {Events: {Route: {Type: Api, Properties: {Path: "/$key", Method: post}}}}
TEMPLATE
    done
} >template.yaml
sam package --template-file template.yaml --s3-bucket "$STACK_BUCKET" --output-template-file packaged.yaml
python expand.py packaged.yaml expanded.json
sam deploy --template-file expanded.json --stack-name peers-sam --s3-bucket "$STACK_BUCKET" \
    --capabilities CAPABILITY_IAM --no-confirm-changeset

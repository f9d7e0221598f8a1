#!/bin/sh
# Releases with Terraform, the AWS CLI and jq.
#
# release.sh release VERSION     applies the layers, and releases dist's program
# release.sh code-only VERSION   the same without Terraform
# release.sh rollback VERSION    releases the zip of an earlier version again
set -eu
action=$1 version=$2
key=$(echo "$ARTIFACT_KEY" | sed "s/VERSION/$version/")
last=${LAYERS##* }

apply() {
    terraform -chdir="terraform/$1" init -input=false -reconfigure -backend-config="bucket=$STATE_BUCKET" \
        -backend-config="key=$STATE_PREFIX/$1.tfstate" -backend-config="region=$AWS_REGION" \
        -backend-config=use_lockfile=true
    changes=0
    terraform -chdir="terraform/$1" plan -input=false -out=release.tfplan -detailed-exitcode || changes=$?
    case $changes in
    0) ;;
    2) terraform -chdir="terraform/$1" apply -input=false release.tfplan ;;
    *) exit "$changes" ;;
    esac
}

upload() {
    temporary=$(mktemp -d)
    cp "$BINARY" "$temporary/bootstrap"
    (cd "$temporary" && python3 -m zipfile -c release.zip bootstrap)
    aws s3 cp --only-show-errors "$temporary/release.zip" "s3://$ARTIFACT_BUCKET/$key"
    rm -r "$temporary"
}

if [ "$action" = release ]; then
    for layer in $LAYERS; do
        [ "$layer" != "$last" ] || upload
        apply "$layer"
    done
elif [ "$action" = code-only ]; then
    upload
fi

contract=$(terraform -chdir="terraform/$last" output -json deployctl)
api=$(echo "$contract" | jq -r .rest_api_id)
stage=$(echo "$contract" | jq -r .stage_name)
deployment=$(aws apigateway create-deployment --rest-api-id "$api" --description "$version" --query id --output text)
patch="op=replace,path=/deploymentId,value=$deployment op=replace,path=/variables/release,value=$version"
for function in $(echo "$contract" | jq -r '.functions | to_entries[] | "\(.key)=\(.value.name)"'); do
    name=${function#*=}
    aws lambda update-function-code --function-name "$name" --s3-bucket "$ARTIFACT_BUCKET" --s3-key "$key" >/dev/null
    aws lambda wait function-updated-v2 --function-name "$name"
    number=$(aws lambda publish-version --function-name "$name" --query Version --output text)
    patch="$patch op=replace,path=/variables/${function%%=*},value=$number"
done
# The operations are words of their own.
# shellcheck disable=SC2086
aws apigateway update-stage --rest-api-id "$api" --stage-name "$stage" --patch-operations $patch >/dev/null
curl --silent --show-error --fail --retry 30 --retry-delay 1 --retry-all-errors "$(echo "$PROBE" | sed "s/API/$api/")" >/dev/null

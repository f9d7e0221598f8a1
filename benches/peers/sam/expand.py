"""Expands a SAM template, as CloudFormation does and the emulator does not."""
import json
import sys
from types import SimpleNamespace

from samcli.yamlhelper import parse_yaml_file
from samtranslator.translator.transform import transform

template = parse_yaml_file(sys.argv[1])
with open(sys.argv[2], "w") as file:
    json.dump(transform(template, {}, SimpleNamespace(load=lambda: {})), file)

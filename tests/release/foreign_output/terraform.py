#!/usr/bin/env python3
"""A program in the place of Terraform: it prints what FAKE_TERRAFORM says, and changes nothing."""

import json
import os
import sys

# What a terminal, GitHub's runner, GitLab, Markdown and HTML would obey.
HOSTILE = [
    "\x1b[2J\x1b[8mhidden",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\link",
    "\u009b31mred",
    "\x1b[31m::add-mask::styled",
    "\n::add-mask::line",
    "\n  \x1b[2m::stop-commands::styled",
    "\r::set-output name=x::carriage",
    "##[add-mask]old",
    "#\x1b[0m#[group]divided",
    "\x1b[0Ksection_start:1:evil\r\x1b[0Kfolded",
    "<img src=x onerror=alert(1)>",
    "[click](http://evil.example)",
    "\n# heading",
    "\n```\n<b>out of the block</b>\n```",
    "`<i>code</i>`",
    "\u202egnp.exe \u2066isolated\u2069 \u2028separated \U000e0041tag",
]


def message(kind, **fields):
    line = {"@level": "info", "@message": "", "@module": "terraform.ui", "type": kind, **fields}
    print(json.dumps(line), flush=False)


def diagnostic(severity, summary, detail=""):
    message("diagnostic", diagnostic={"severity": severity, "summary": summary, "detail": detail})


def change(address):
    resource = {"addr": address, "resource_type": "terraform_data"}
    message("planned_change", change={"resource": resource, "action": "create"})


def plan(mode, out):
    message("version", terraform="1.12.2", ui="1.2")
    if mode.startswith("flood"):
        lines, warnings, changes = (int(number) for number in mode.split()[1:])
        for _ in range(lines):
            sys.stderr.write("x" * 7_900_000 + "\n")
        for number in range(warnings):
            diagnostic("warning", f"warning {number}", "d" * 200)
        for number in range(changes):
            change(f"terraform_data.with_a_long_name[{number}]")
        diagnostic("warning", "s" * 4_000_000, "d" * 3_000_000)
        count = changes
    else:
        text = " ".join(HOSTILE)
        sys.stderr.write(text + "\n")
        print(text)
        diagnostic("warning", "hostile " + text, text)
        change(text)
        count = 1
    if mode == "fail":
        diagnostic("error", "hostile " + text, text)
        sys.exit(1)
    message("change_summary", changes={"add": count, "change": 0, "import": 0, "remove": 0, "operation": "plan"})
    with open(out, "wb") as file:
        file.write(b"PK\x05\x06" + bytes(18))
    sys.exit(2)


def show(mode):
    def resource(address, action):
        value = {"input": {"value": address}, "output": "o" * 200, "id": None}
        before = {**value, "output": address} if action == "update" else None
        return {
            "address": address,
            "type": "terraform_data",
            "change": {"actions": [action], "before": before, "after": value, "after_unknown": {"id": True}},
        }

    if mode.startswith("flood"):
        names = [f"terraform_data.with_a_long_name[{number}]" for number in range(int(mode.split()[3]))]
        resources = [resource(name, "create") for name in names]
    else:
        text = " ".join(HOSTILE)
        resources = [resource(text, "update")]
    print(json.dumps({"format_version": "1.2", "resource_changes": resources}))


command, mode = sys.argv[1], os.environ.get("FAKE_TERRAFORM", "")
if file := os.environ.get("FAKE_TERRAFORM_ENVIRONMENT"):
    with open(file, "w") as environment:
        json.dump(dict(os.environ), environment)
if command == "version":
    print("Terraform v1.12.2")
elif command == "plan":
    plan(mode, next(arg.removeprefix("-out=") for arg in sys.argv if arg.startswith("-out=")))
elif command == "show":
    show(mode)
elif command == "validate":
    print(json.dumps({"format_version": "1.0", "valid": True, "diagnostics": []}))
elif command == "output":
    print("{}")

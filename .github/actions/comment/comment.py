"""Writes a file into the one comment of a pull request that carries a name. Only the standard library."""

import json
import os
import urllib.request
from pathlib import Path

# GitHub refuses more than 65,536 characters.
LONGEST = 65_000
PAGE = 100


def call(method, path, body=None):
    """One call of GitHub's API; the token goes into a header and nowhere else."""
    request = urllib.request.Request(
        f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {os.environ['TOKEN']}",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def text(marker, run):
    """What the comment is to say."""
    file = Path(os.environ["FILE"])
    if not file.is_file():
        return f"{marker}\n**{os.environ['NAME']} failed**: [what it said]({run})\n"
    body = file.read_text(encoding="utf-8", errors="replace")
    cut = f"\n\n… too long for a comment: [all of it]({run})\n"
    if len(body) > LONGEST:
        # A code block that is cut in its middle would swallow the sentence after it.
        body = body[: LONGEST - len(cut) - 4]
        body += ("\n```" if body.count("```") % 2 else "") + cut
    return f"{marker}\n{body}"


def mine(number, marker):
    """The comment that an earlier run has written. A person can copy the marker, but not the author."""
    page = 1
    while True:
        comments = call("GET", f"/issues/{number}/comments?per_page={PAGE}&page={page}")
        for comment in comments:
            if comment["body"].startswith(marker) and comment["user"]["login"] == "github-actions[bot]":
                return comment["id"]
        if len(comments) < PAGE:
            return None
        page += 1


def main():
    number = int(os.environ["PULL_REQUEST"])
    marker = f"<!-- sticky: {os.environ['NAME'].replace('--', '')} -->"
    server, repository = os.environ["GITHUB_SERVER_URL"], os.environ["GITHUB_REPOSITORY"]
    body = {"body": text(marker, f"{server}/{repository}/actions/runs/{os.environ['GITHUB_RUN_ID']}")}
    known = mine(number, marker)
    if known is None:
        call("POST", f"/issues/{number}/comments", body)
    else:
        call("PATCH", f"/issues/comments/{known}", body)


if __name__ == "__main__":
    main()

"""Writes a file into the comment of a pull request that has a given name. Uses only the standard library."""

import json
import os
import urllib.request
from pathlib import Path

# GitHub's limit is 65,536 characters.
MAX_LENGTH = 65_000
PAGE_SIZE = 100


def call(method, path, body=None):
    """Calls the GitHub API."""
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


def comment_text(marker, run):
    """The text of the comment."""
    file = Path(os.environ["FILE"])
    if not file.is_file():
        return f"{marker}\n**{os.environ['NAME']} failed**: [what it said]({run})\n"
    body = file.read_text(encoding="utf-8", errors="replace")
    note = f"\n\n… too long for a comment: [all of it]({run})\n"
    if len(body) > MAX_LENGTH:
        # Closes a code block that is cut, so that the note after it is not a part of the block.
        body = body[: MAX_LENGTH - len(note) - 4]
        body += ("\n```" if body.count("```") % 2 else "") + note
    return f"{marker}\n{body}"


def existing_comment(number, marker):
    """The id of the comment of an earlier run. The author is checked, because anyone can copy the marker."""
    page = 1
    while True:
        comments = call("GET", f"/issues/{number}/comments?per_page={PAGE_SIZE}&page={page}")
        for comment in comments:
            if comment["body"].startswith(marker) and comment["user"]["login"] == "github-actions[bot]":
                return comment["id"]
        if len(comments) < PAGE_SIZE:
            return None
        page += 1


def main():
    number = int(os.environ["PULL_REQUEST"])
    marker = f"<!-- sticky: {os.environ['NAME'].replace('--', '')} -->"
    server, repository = os.environ["GITHUB_SERVER_URL"], os.environ["GITHUB_REPOSITORY"]
    body = {"body": comment_text(marker, f"{server}/{repository}/actions/runs/{os.environ['GITHUB_RUN_ID']}")}
    comment = existing_comment(number, marker)
    if comment is None:
        call("POST", f"/issues/{number}/comments", body)
    else:
        call("PATCH", f"/issues/comments/{comment}", body)


if __name__ == "__main__":
    main()

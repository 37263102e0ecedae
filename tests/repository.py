"""Git for tests: repositories of their own, whatever the user's settings are."""

import subprocess


def git(folder, *words):
    """Return what ``git`` says in ``folder``; a failure raises."""
    command = ["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def created(folder):
    """Make an empty repository; its folder."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=work")
    return folder


def commit(folder, text, *paths):
    """Commit these files, or nothing, and return the revision."""
    if paths:
        git(folder, "add", *paths)
    git(folder, "commit", "--quiet", "--allow-empty", "-m", text)
    return git(folder, "rev-parse", "HEAD")

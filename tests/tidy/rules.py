"""What tidy.py and references.py share: which files there are, and how a check is run and tried out."""
import argparse
import os
import subprocess
import sys
import tempfile


def tracked(root):
    """The files that git has or would take, in order."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True,
                         check=True).stdout.split("\n")
    return sorted(f for f in out if f and os.path.isfile(os.path.join(root, f)))


def breaches_of(check, files):
    """What `check` finds in a tree of these files (path -> content) alone."""
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["git", "init", "-q", root], check=True)
        for name, text in files.items():
            os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
            with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                f.write(text)
        return check(root)


def self_test(check, cases):
    """`cases`: (path, content, other files, what its only breach says)."""
    for path, body, others, said in cases:
        found = breaches_of(check, {**others, path: body})
        if not any(said in breach for breach in found) or any(path not in breach for breach in found):
            print(f"self-test: {path} alone should have been a breach ({said}), found {found}")
            return 1
    print(f"self-test: {len(cases)} breaches found as they should be")
    return 0


def main(doc, check, cases, what):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), "..", ".."))
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        sys.exit(self_test(check, cases))
    breaches = check(os.path.abspath(args.root))
    for breach in breaches:
        print(breach)
    print(f"{len(breaches)} {what}")
    sys.exit(1 if breaches else 0)

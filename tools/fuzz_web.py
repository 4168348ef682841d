"""Requests that schemathesis makes up from the OpenAPI document, sent to a real web service.

    fuzz_web.py [--examples 100]

One run gets whatever comes to mind for tokens, the other those of subscriptions. Its exit status is that of
schemathesis; 1 also where the service logged a failure or a token.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from lab.process import workspace
from lab.web import WebService


def main() -> int:
    """Run it twice; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100)
    examples = parser.parse_args().examples
    with workspace() as folder, WebService(folder) as web:
        tokens = web.tokens(f"fuzz{number}@example.net" for number in range(50))
        guessed = _run(folder, web, examples, None)
        known = _run(folder, web, examples, tokens)
        log = web.child.log()
    failed = "request failed" in log or any(token in log for token in tokens)
    if failed:
        print(log[-5_000:], file=sys.stderr)
    return guessed or known or int(failed)


def _run(folder: Path, web: WebService, examples: int, tokens: list[str] | None) -> int:
    """One run, by the document as it is, or with real tokens only."""
    document = json.loads(web.ask("GET", "/openapi.json").text)
    if tokens:
        document["paths"]["/u/{token}"]["parameters"][0]["schema"] = {"enum": tokens}
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    argv = [str(Path(sys.executable).with_name("st")), "run", str(path), "--url", f"http://127.0.0.1:{web.port}"]
    options = ["--max-examples", str(examples), "--generation-deterministic", "--workers", "1"]
    return subprocess.run([*argv, *options], check=False, cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())

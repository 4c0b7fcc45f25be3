"""The loop of `ropewalk conform --against`: one line of JSON in, one out. Nothing else of the adapters is shared."""

from __future__ import annotations

import json
import sys
import traceback


class Unsupported(Exception):
    """What an implementation does not do. Its words appear in the report."""


def serve(answer) -> None:
    """answer(request) returns {"y": [tokens][heads][head_dim]}, or raises Unsupported."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = answer(request)
        except Unsupported as why:
            reply = {"unsupported": str(why)}
        except Exception:
            traceback.print_exc()
            raise
        print(json.dumps({"id": request["id"]} | reply), flush=True)

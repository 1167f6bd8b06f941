"""Answer over HTTP: a JSON list of texts in, a JSON list of answers out. Needs no PyTorch.

Example:
    python examples/serve.py runs/demo/artifact --port 8000
    curl localhost:8000 -d '["my card was charged twice", "where is my parcel?"]'
"""

import argparse
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tinybert.errors import TinyBertError
from tinybert.runtime import load, predict


def answers(model, body):
    """Return an answer for each text, or for each list of two of a model of pairs."""
    given, out, size = json.loads(body), io.StringIO(), 1 + model.card.pair
    rows = given if size == 2 else [[text] for text in given]
    texts = [text for row in rows if isinstance(row, list) and len(row) == size for text in row]
    if not isinstance(given, list) or [type(t) for t in texts] != [str] * size * len(rows):
        raise ValueError(f"wanted a JSON list of {'texts' if size == 1 else 'lists of two texts'}")
    if texts and predict(model, texts, out=out, format="jsonl"):
        raise ValueError("some texts cannot be read")
    return [json.loads(line) for line in out.getvalue().split("\n")[:-1]]


def server(model, host, port):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                size = int(self.headers.get("Content-Length") or 0)
                if not 0 <= size <= 1_000_000:
                    self.rfile.read(min(max(size, 0), 10_000_000))  # else no answer may arrive
                    raise ValueError(f"{size} bytes; wanted a million at most")
                self.reply(200, answers(model, self.rfile.read(size)))
            except (RecursionError, TypeError, ValueError, TinyBertError) as error:
                self.reply(400, {"error": str(error)})

        def do_GET(self):
            self.reply(200, {"task": model.card.task, "labels": model.card.labels})

        def reply(self, status, content):
            body = json.dumps(content, ensure_ascii=False).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer((host, port), Handler)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    server(load(given.artifact, threads=1), given.host, given.port).serve_forever()

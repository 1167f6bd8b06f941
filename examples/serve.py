"""Answer over HTTP: a JSON list of texts in, a JSON list of answers out. Needs no PyTorch.

Example:
    python examples/serve.py runs/demo/artifact --port 8000
    curl localhost:8000 -d '["my card was charged twice", "where is my parcel?"]'
"""

import argparse
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import tinybert
from tinybert.errors import TinyBertError
from tinybert.runtime import predict


def answers(model, body):
    """Return an answer for each text, or each list of two, of a JSON list."""
    rows, out = json.loads(body), io.StringIO()
    texts = [text for row in rows for text in (row if isinstance(row, list) else [row])]
    if not isinstance(rows, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("wanted a JSON list of texts, or of lists of two")
    if texts and predict(model, texts, out=out, format="jsonl"):
        raise ValueError("some texts cannot be read")
    return [json.loads(line) for line in out.getvalue().splitlines()]


def server(model, host, port):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                size = int(self.headers.get("Content-Length") or 0)
                if not 0 <= size <= 1_000_000:
                    self.rfile.read(min(max(size, 0), 10_000_000))  # else the answer may be lost
                    raise ValueError(f"{size} bytes; wanted a million at most")
                self.reply(200, answers(model, self.rfile.read(size)))
            except (TypeError, ValueError, TinyBertError) as error:
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
    server(tinybert.load(given.artifact, threads=1), given.host, given.port).serve_forever()

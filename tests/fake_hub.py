"""A server on this machine that answers like the Hugging Face Hub, as far as downloads of a repository go."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(repositories):
    """Serve folders, {"user/name": folder}, each at the revisions main and v1; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer()

        def do_HEAD(self):
            self.answer()

        def log_message(self, format, *args):
            pass

        def answer(self):
            path = self.path.partition("?")[0]
            found = re.fullmatch(
                r"(?:/api/models)?/([\w-]+/[\w-]+)(?:/(\w+)/(\w+)(?:/(.*))?)?", path
            )
            name, kind, revision, file = found.groups() if found else (None,) * 4
            folder = repositories.get(name)
            if folder is None:
                self.send(404, b"", {"X-Error-Code": "RepoNotFound"})
            elif revision not in (None, "main", "v1", COMMIT):
                self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            elif kind == "resolve":
                content = (folder / file).read_bytes()
                tag = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
                self.send(200, content, tag)
            else:
                files = [
                    {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40}
                    for p in sorted(folder.iterdir())
                ]
                siblings = [{"rfilename": one["path"]} for one in files]
                about = {"_id": "1", "id": name, "sha": COMMIT, "siblings": siblings}
                content = files if kind == "tree" else about
                self.send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def send(self, status, content, headers):
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""A small server that speaks W&B's protocol: runs, their files and histories, and artifacts."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeWandb:
    """What a server of W&B got; runs named in ``refused`` are denied."""

    address: str = ""
    refused: set[str] = field(default_factory=set)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)

    def graphql(self, operation: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """The answer's data; None denies."""
        if operation == "UpsertBucket":
            return self._upserted(given)
        if operation in ARTIFACT_OPERATIONS and not (operation == "CreateArtifact" and is_table(given)):
            return getattr(self, f"_{operation}")(given)
        if operation == "CreateArtifact":
            self.tables.add(given["input"]["artifactCollectionName"])
            sequence = {"id": "sequence", "latestArtifact": {"id": "artifact", "versionIndex": 0}}
            return {
                "createArtifact": {"artifact": {"id": "artifact", "state": "COMMITTED", "artifactSequence": sequence}}
            }
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.address}/files/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
        return {"serverInfo": {"features": []}} if operation == "ServerFeaturesQuery" else {}

    def _upserted(self, given: dict[str, Any]) -> dict[str, Any] | None:
        name = given["name"]
        if name in self.refused:
            return None
        known = name in self.runs
        self.runs.setdefault(name, {}).update({key: value for key, value in given.items() if value is not None})
        project = {"id": "project", "name": given["project"], "entity": {"id": "entity", "name": "team"}}
        bucket = {"id": "bucket", "name": name, "displayName": name, "historyLineCount": 0, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": not known}}

    def _Viewer(self, _given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - the protocol's names
        user = {"id": "user", "name": "me", "username": "me", "email": "", "entity": "team", "admin": False}
        none = {"edges": []}
        return {"viewer": {**user, "flags": "{}", "teams": none, "apiKeys": none, "deletedAt": None}}

    _GetDefaultEntity = _Viewer

    def _ArtifactType(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        asked, number = given["input"], len(self.artifacts)
        self.artifacts.append({"id": f"artifact{number}", "version": number, **asked})
        sequence = {"id": "sequence", "latestArtifact": {"id": f"artifact{number - 1}", "versionIndex": number - 1}}
        made = {"id": f"artifact{number}", "state": "PENDING", "artifactSequence": sequence if number else {"id": "s"}}
        return {"createArtifact": {"artifact": made}}

    def _CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        nodes = []
        for each in given["input"]["artifactFiles"]:
            path = f"stored/{each['artifactID']}/{each['name']}"
            node = {"storagePath": path, "uploadUrl": f"{self.address}/{path}", "uploadHeaders": []}
            nodes.append({**node, "uploadMultipartUrls": None, "artifact": {"id": each["artifactID"]}})
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = f"manifest-{given['artifactID']}.json"
        self.artifacts[-1]["manifest"] = f"/{name}"
        file = {"id": "file", "name": name, "displayName": name, "uploadUrl": f"{self.address}/{name}"}
        made = {"id": name, "file": {**file, "uploadHeaders": []}}
        return {"createArtifactManifest": {"artifactManifest": made}}

    def _UpdateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = given["artifactManifestID"]
        file = {"id": "file", "name": name, "displayName": name, "uploadUrl": f"{self.address}/{name}"}
        return {"updateArtifactManifest": {"artifactManifest": {"id": name, "file": {**file, "uploadHeaders": []}}}}

    def _CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "d"}}}

    def _ArtifactMembershipByName(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = given["name"].partition(":")[0]
        asked = [each for each in self.artifacts if each["artifactCollectionName"] == name]
        found = self._membership(asked[-1], name) if asked else None
        return {"project": {"artifactCollectionMembership": found}}

    def _ArtifactByID(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        made = next(each for each in self.artifacts if each["id"] == given["id"])
        return {"artifact": self._membership(made, made["artifactCollectionName"])["artifact"]}

    def stored(self, path: str) -> bytes | None:
        """What was uploaded; files of artifacts are asked for by their hash."""
        parts = path.split("/")
        if parts[1] != "artifactsV2":
            return self.files.get(path)
        content = (body for path, body in self.files.items() if path.startswith("/stored/"))
        return next((body for body in content if hashlib.md5(body).hexdigest() == parts[-2]), None)

    def _membership(self, made: dict[str, Any], name: str) -> dict[str, Any]:
        project = {"id": "p", "internalId": "UHJvamVjdDp2MTpwOjE=", "name": "project", "entity": {"name": "team"}}
        collection = {"__typename": "ArtifactSequence", "name": name, "project": project}
        artifact = {
            "__typename": "Artifact", "id": made["id"], "artifactSequence": collection, "versionIndex": made["version"],
            "artifactType": {"name": made["artifactTypeName"]}, "description": None, "metadata": None,
            "ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [], "historyStep": None, "state": "COMMITTED",
            "size": 1, "digest": made["digest"], "digestAlgorithm": made.get("digestAlgorithm", "MANIFEST_MD5"),
            "commitHash": None, "fileCount": 1, "createdAt": "2026-01-01T00:00:00Z", "updatedAt": None, "aliases": [],
        }  # fmt: skip
        return {"__typename": "ArtifactCollectionMembership", "id": "m", "versionIndex": made["version"],
                "createdAt": "2026-01-01T00:00:00Z", "aliases": [], "artifactCollection": collection,
                "artifact": artifact}  # fmt: skip

    def _FetchArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        made = next(each for each in self.artifacts if each["id"] == given["id"])
        return {"artifact": {"currentManifest": {"file": {"directUrl": f"{self.address}{made['manifest']}"}}}}

    def stream(self, path: str, content: dict[str, Any]) -> None:
        """Take lines of a run's history."""
        run = path.split("/")[-2]
        lines = content.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        self.history.setdefault(run, []).extend(json.loads(line) for line in lines)


ARTIFACT_OPERATIONS = {name[1:] for name in vars(FakeWandb) if name.startswith("_") and name[1:2].isupper()}


def is_table(given: dict[str, Any]) -> bool:
    return given["input"]["artifactTypeName"] == "run_table"


def handler_of(server: FakeWandb) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def content(self) -> bytes:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

        def answer(self, content: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            body = server.stored(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def do_PUT(self) -> None:
            server.files[self.path] = self.content()
            self.answer({})

        def do_POST(self) -> None:
            raw = self.content()
            if self.path.endswith("/graphql"):
                asked = json.loads(raw)
                named = re.match(r"\s*(?:query|mutation)\s+(\w+)", asked.get("query", ""))
                operation = asked.get("operationName") or (named[1] if named else "")
                data = server.graphql(operation, asked.get("variables") or {})
                denied = {"errors": [{"message": "permission denied"}]}
                self.answer(denied if data is None else {"data": data}, 403 if data is None else 200)
                return
            if self.path.endswith("/file_stream"):
                server.stream(self.path, json.loads(raw))
            self.answer({})

    return Handler


@contextmanager
def serving() -> Iterator[FakeWandb]:
    """A server on a free port of this machine."""
    fake = FakeWandb()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(fake))
    http.handle_error = lambda *_arguments: None  # type: ignore[method-assign] # clients hang up
    fake.address = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield fake
    finally:
        http.shutdown()
        http.server_close()

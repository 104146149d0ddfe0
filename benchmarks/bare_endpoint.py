"""What a plain FastAPI endpoint takes that keeps nothing: the yardstick of `benchmarks.ingress`.

`python -m benchmarks.bare_endpoint PORT` serves it on loopback with the server settings of the ingress.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.post("/challenges", status_code=201)
async def receive_challenge(body: dict[str, Any]) -> dict[str, Any]:
    return {"success": True, "message": "Challenge received successfully", "challenge_id": body["id"]}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)

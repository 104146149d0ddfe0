"""`python -m ingress`: serve on API_HOST and API_PORT."""

from __future__ import annotations

import uvicorn

from ingress.main import app
from loosh_pipeline.settings import get_settings


def main() -> None:
    settings = get_settings()
    uvicorn.run(app, host=settings.api_host, port=settings.api_port, log_level=settings.log_level.lower())


if __name__ == "__main__":
    main()

